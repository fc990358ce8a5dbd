"""Operators that do in one pass over a tensor what eager torch does in several.

`fusion.fuse_pipeline` puts them into a model; `ops` are the operators, `kernels` and `fp8_kernels`
their Triton code.
"""
