"""NVIDIA's GPUs, by NVML.

`reader.open_gpus` opens them; `xid.Xids` waits for the driver's own error reports.
"""
