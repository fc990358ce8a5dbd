"""The windows of a search, and the capacity that they show.

`crossing.crossing` fits it, `result.find` reads a search's folder.
"""
