"""How requests arrive: rate curves, random processes, recorded arrivals. Pure.

`curve.Curve` is every shape; `arrivals.arrival_times` draws from one.
"""
