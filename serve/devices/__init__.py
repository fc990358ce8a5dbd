"""The GPUs of this machine: which are there, which are taken, and what they can do.

`selection.place` decides before torch is imported, `torch_device.look` asks torch,
`limits.measure` measures matmul rate and copy bandwidth.
"""
