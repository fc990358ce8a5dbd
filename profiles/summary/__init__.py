"""A run folder in numbers, and whether they can be trusted.

`run.summarize` gives the Summary of a run, `sample.summarize_sampled` of a sample;
`validity.invalid_reasons` are the reasons against a run.
"""
