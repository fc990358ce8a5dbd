"""The command line: `main.main` is `viralload`.

`parser` is its grammar; it alone turns errors into exit codes.
"""
