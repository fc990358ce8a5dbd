"""Numbers as people read them: SI values in, text out, "unknown" for None and never 0. Pure."""

import math

from profiles.schema import Outcome

UNKNOWN = "unknown"

OUTCOME_WORDS = {
    Outcome.OK: "ok",
    Outcome.REJECTED: "refused",
    Outcome.FAILED: "failed",
    Outcome.TIMEOUT: "timed out",
    Outcome.ABANDONED: "abandoned",
    Outcome.UNSENT: "never sent",
}

OUTCOME_CLAUSES = {  # "31% of the requests ..."
    Outcome.OK: "were answered",
    Outcome.REJECTED: "were refused",
    Outcome.FAILED: "failed",
    Outcome.TIMEOUT: "timed out",
    Outcome.ABANDONED: "were abandoned",
    Outcome.UNSENT: "were never sent",
}


def number(value: float | None) -> str:
    """Three significant digits, thousands separated: 0.0123, 2.26, 41.5, 111,667."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def images_per_s(value: float | None) -> str:
    """A rate with its unit."""
    return UNKNOWN if value is None else f"{number(value)} images/s"


def seconds(value: float | None) -> str:
    """A duration in the unit a person would choose: 4.2 ms, 3.47 s, 2 min 5 s, 6.2 days."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) < 1.0:
        return f"{number(1e3 * value)} ms" if value else "0 s"
    if abs(value) < 99.95:
        return f"{number(value)} s"
    if abs(value) < 3599.5:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if abs(value) < 48 * 3600:
        hours, minutes = divmod(round(value / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{number(value / 86400)} days"


def load_time(t_s: float, load_start_s: float | None) -> str:
    """An instant of the run's clock on the load's, where every chart has its zero."""
    if load_start_s is None:
        return f"{seconds(t_s)} into the run"
    since_s = round(t_s - load_start_s, 1)
    return (
        f"{seconds(since_s)} into the load"
        if since_s >= 0
        else f"{seconds(-since_s)} before the load"
    )


def share(value: float | None) -> str:
    """A share 0..1 in percent that never rounds to 0 or 100 what is not: 31%, 99.97%."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    percent = 100.0 * value
    if percent in (0.0, 100.0):
        return f"{percent:.0f}%"
    if 0.0 < percent < 0.01:
        return "< 0.01%"
    if 99.99 < percent < 100.0:
        return "> 99.99%"
    if 10.0 <= percent <= 90.0:
        return f"{percent:.0f}%"
    digits = 1 if 0.1 <= percent <= 99.9 else 2
    return f"{percent:.{digits}f}".removesuffix(".0") + "%"


def percent(value: float | None) -> str:
    """A percentage 0..100."""
    return UNKNOWN if value is None else f"{value:.0f}%"


def count(value: float | None) -> str:
    """A whole number, thousands separated."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def data(value: float | None) -> str:
    """Bytes in decimal units: 620 kB, 18.2 GB."""
    if value is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{number(value)} {unit}"
        value /= 1e3
    return f"{number(value)} TB"


def tflop(value: float | None) -> str:
    """Floating point operations, given in tera: 1,979 TFLOP, 34.7 TFLOP, 803 GFLOP."""
    if value is None:
        return UNKNOWN
    for unit in ("TFLOP", "GFLOP"):
        if abs(value) >= 0.9995:
            return f"{number(value)} {unit}"
        value *= 1e3
    return f"{number(value)} MFLOP"


def tflops(value: float | None) -> str:
    """A rate of them, given in tera a second."""
    return UNKNOWN if value is None else f"{tflop(value)}/s"


def watts(value: float | None) -> str:
    """Power."""
    return UNKNOWN if value is None else f"{value:,.0f} W"


def joules(value: float | None) -> str:
    """Energy: 331 J, 66.5 kJ."""
    if value is None:
        return UNKNOWN
    for unit in ("J", "kJ", "MJ"):
        if abs(value) < 999.5:
            return f"{number(value)} {unit}"
        value /= 1e3
    return f"{number(value)} GJ"


def megahertz(value: float | None) -> str:
    """A clock."""
    return UNKNOWN if value is None else f"{value:,.0f} MHz"


def celsius(value: float | None) -> str:
    """A temperature."""
    return UNKNOWN if value is None else f"{value:.0f} °C"


def dollars(value: float | None) -> str:
    """A price."""
    if value is None:
        return UNKNOWN
    return f"${value:,.2f}" if value >= 0.095 else f"${number(value)}"


def in_unit(value: float | None, unit: str) -> str:
    """A threshold's figure, in its unit: "s" | "share" | "count" | "images/s"."""
    if unit == "s":
        return seconds(value)
    if unit == "share":
        return share(value)
    return images_per_s(value) if unit == "images/s" else count(value)
