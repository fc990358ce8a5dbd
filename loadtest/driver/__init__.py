"""One run from a scenario to a reported run folder: who is started, watched and stopped.

`run.run` is `viralload run`, `sample.sample` is `viralload sample`; `session.RunSession` is what
runs and searches share, `prepare.Options` what the user asked for, `watch.watch` waits for the end
of the load, `live.Watcher` feeds the live view.
"""
