"""The run folder: what a run writes, and reading it back.

`folder.RunFolder` knows the names of its files, `columns.read` gives them as numpy columns.
"""
