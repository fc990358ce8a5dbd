"""Statistics that know nothing of images or GPUs. Pure.

`arrays` has quantiles, bins and integrals; `bootstrap.spread` the interval of a mean over time,
`queueing` how busy servers may be.
"""
