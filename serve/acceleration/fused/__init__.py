"""Operators that do in one pass over a tensor what eager torch does in several.

`fusion.fuse_pipeline` puts them into a model; `ops.group_norm` is one of the operators, and
`kernels.apply` part of its Triton code.
"""
