"""A scenario at the scale of a block of GPUs, simulated.

`simulate.simulate_scenario` is `viralload fleet`, `busy_hour.busy_hour` a scenario's busiest hour.
"""
