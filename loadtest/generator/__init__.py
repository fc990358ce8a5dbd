"""The load generator's own parts: it sends what is due and writes down what became of it.

`sender.Sender` sends, `recorder.Recorder` records; `people.live` plays a person by the rules of
`person.after`.
"""
