"""A run folder in numbers, and whether they can be trusted.

`run.summarize` gives the Summary of a run, `sample.summarize_sampled` of a sample, `validity` the
reasons against either.
"""
