"""The record of a run and its readers: samples, summary, thresholds, capacity, report."""
