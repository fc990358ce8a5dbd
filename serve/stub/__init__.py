"""A stand-in that computes nothing: it isolates the serving layer.

`model.StubModel` keeps service times, `queue_engine.QueueEngine` is a textbook queue.
"""
