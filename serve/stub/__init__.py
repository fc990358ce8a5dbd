"""A stand-in that computes nothing: it isolates the serving layer.

`model.StubModel` keeps service times, `queue_engine.CounterEngine` is a textbook queue.
"""
