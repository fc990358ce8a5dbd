"""A column's name as words, however it is spelt, and the units of time among them. Pure."""

import re

UNITS = {
    "ns": 1e-9, "nanos": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9,
    "us": 1e-6, "µs": 1e-6, "micros": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
    "ms": 1e-3, "msec": 1e-3, "millis": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0,
    "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "day": 86400.0, "days": 86400.0,
}  # fmt: skip


def tokens(name: str) -> tuple[str, ...]:
    """`("num", "images")` of "num_images", "NumImages" and "num images"."""
    parts = re.findall(r"[A-ZÀ-Þ]+(?![a-zß-ÿ])|[A-ZÀ-Þ]?[a-zß-ÿµ]+|[0-9]+", name)
    return tuple(part.lower() for part in parts)


def normal(name: str) -> str:
    """`num_images` of "NumImages"."""
    return "_".join(tokens(name))
