"""How requests arrive: rate curves, random processes, recorded arrivals. Pure.

`curve` has the shapes; `arrivals.arrival_times` draws from one.
"""
