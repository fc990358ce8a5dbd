"""Measurements of viralload's own parts; each module runs by itself and prints JSON."""
