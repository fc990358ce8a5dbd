"""What the hardware did over a load, as figures: means, energy, FLOP/s. Pure.

`hardware.hardware` gathers it, `energy.gpu_energy` and `flop_limits.attained` are its harder parts.
"""
