"""What the words of the command line are, and what they change.

`parser.parser` is the grammar; `overrides` and `target` read what was given, `unused` refuses what
a mode has no use for.
"""
