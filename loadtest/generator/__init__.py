"""The load generator's own parts: it sends what is due and writes down what became of it.

`sender.Sender` sends, `recorder.Recorder` records, `people` plays people by `person`'s rules.
"""
