"""What became of the requests: counts, rates, groups, and whether they meet a bound. Pure.

`attempts.add_up` counts, `rates.load_window` cuts, `slo.parse_slo` and `threshold.evaluate` judge.
"""
