"""The search for the highest rate that meets an SLO.

`find.run` is `viralload find`, `next_window` says which rate is next.
"""
