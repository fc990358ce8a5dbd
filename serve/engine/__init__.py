"""Who is served when: queues, batches, admission. It knows neither torch nor HTTP.

`step_engine.StepEngine` is policy `step`, `batch_engine.BatchEngine` the two others; each drives a
`request.Model` with values such as `request.Order`.
"""
