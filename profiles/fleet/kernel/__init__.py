"""The simulation's inner loop, compiled by numba.

`cell.play` plays one cell; `state` is its record, `dispatch`, `queues` and `server` its rules.
"""
