"""What this machine can do, and what would trouble a run on it.

`diagnosis.diagnose` finds it out, `text` tells it.
"""
