"""Who is served when: queues, batches, admission. It knows neither torch nor HTTP.

`step_engine.StepEngine` is policy `step`, `batch_engine.BatchEngine` the two others; `request`
holds the values that travel, and the `request.Model` that an engine drives.
"""
