"""The simulation's inner loop, compiled by numba.

`cell.play` plays one cell, whose record is `state.CELL`. The rules: `dispatch.send` routes and
admits, `queues.join_line` queues, `server.fill` and `server.stop` batch and step.
"""
