"""One run from a scenario to a reported run folder: who is started, watched and stopped.

`run.run` is `viralload run`, `sample.sample` is `viralload sample`.
"""
