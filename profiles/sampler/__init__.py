"""The sampler's process: readings at a fixed cadence, written as they come.

`main.record` is its loop, `exporter.Exporter` shows the latest readings to Prometheus.
"""
