"""Recorded traffic: what a trace's columns and rows are, and its arrivals.

`trace.read_trace` reads a file, `rows` tells arrivals from bins, `timestamps` reads times.
"""
