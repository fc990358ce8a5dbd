"""The command line: `main.main` is `viralload`, and each verb is the file of its name.

`options` is the grammar; this package alone turns errors into exit codes.
"""
