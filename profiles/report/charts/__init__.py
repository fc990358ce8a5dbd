"""The report's pictures, as static SVG.

`svg.svg` draws; `timeline.timeline` and `device_series.quantiles` make curves of what was recorded,
`load.load_panels` and `devices.device_panels` say what is drawn.
"""
