"""Predictions written down before the fact, and scored once the runs have come in.

`predictions.predict` makes them, `scoring.arrived` reads runs, `ledger.append` and `ledger.read`
keep the file.
"""
