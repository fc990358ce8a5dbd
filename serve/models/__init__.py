"""Diffusion models: their architectures, weights, sizes, and what an image costs in FLOP.

`loading.load` gives a pipeline on a device, `networks.network_of` what differs between kinds.
"""
