"""Statistics that know nothing of images or GPUs. Pure.

`arrays.quantiles`, `arrays.time_bins` and `arrays.integral` work on columns; `bootstrap.spread` is
the interval of a mean over time, `queueing.admissible_load` how busy servers may be.
"""
