"""Intel's GPUs, by Level Zero Sysman.

`reader.open_gpus` opens them.
"""
