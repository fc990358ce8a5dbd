"""A block of GPUs, request by request, simulated. Pure, seeded.

`simulate.simulate` plays a demand, `sizing.gpus_needed` finds the fewest GPUs that meet an SLO.
"""
