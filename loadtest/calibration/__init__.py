"""The capacity that a peak such as 1.5x refers to, measured before the load.

`calibrate.calibrate` measures it, by a closed loop that `concurrency.Climb` steers.
"""
