"""Generators on other machines: the worker's side and the master's.

`worker.work` is a worker, `gather.gather` waits for them, `roster.Roster` knows who has come.
"""
