"""Generators on other machines: the worker's side and the master's.

`worker.work` is a worker, `gather.gather` waits for them, `roster.Crew` knows who has come.
"""
