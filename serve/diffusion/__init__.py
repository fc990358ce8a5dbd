"""A diffusers pipeline as a replica runs it: warmed up, step by step or a batch at a time.

`startup.start` gives the warm `pipeline.DiffusionModel`.
"""
