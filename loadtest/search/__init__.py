"""The search for the highest rate that meets an SLO.

`find.run` is `viralload find`; `next_window.choose` says which rate is next, or that it is enough.
"""
