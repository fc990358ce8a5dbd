"""A run, a search, a fleet in words, for terminals and pages. Pure.

`run.summary_text` is a run's; charts are drawn elsewhere, for what draws them is slow to import.
"""
