"""What this machine can do, and what would trouble a run on it.

`diagnosis.diagnose` measures and checks, `text.doctor_text` prints the result.
"""
