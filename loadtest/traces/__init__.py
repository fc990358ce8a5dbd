"""Recorded traffic: what a trace's columns and rows are, and its arrivals.

`trace.read_trace` reads a file; `rows.take` tells arrivals from bins, `timestamps.seconds_of` reads
times.
"""
