"""The report's pictures, as static SVG.

`svg.svg` draws, `timeline` has the curves, the others say what stands in which panel.
"""
