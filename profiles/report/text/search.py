"""A search's result in words, with throughput against latency drawn for a terminal. Pure."""

import textwrap

import numpy as np

from profiles import formats
from profiles.schema import FindResult, FindVerdict, FindWindow

WIDTH = 96
PLOT_COLUMNS, PLOT_ROWS = 64, 14
TOP = 2.5  # limits: slower windows are drawn at the upper edge


def headline(result: FindResult) -> str:
    """What was found, as one sentence."""
    stub = " (no model: stub)" if result.is_stub else ""
    prefix = "" if result.valid else "INVALID — "
    return prefix + _found(result).replace("{stub}", stub)


def find_text(result: FindResult) -> str:
    """The result as plain text, ending in a newline."""
    lines = textwrap.wrap(headline(result), WIDTH)
    if result.interrupted:
        lines.append("The search was stopped by the user; this is what it had measured.")
    for label, told in (("invalid", result.reasons), ("warnings", result.warnings)):
        for sentence in told:
            lines += textwrap.wrap(f"{label}: {sentence}", WIDTH, subsequent_indent="  ")
    drawn = plot(result)
    if drawn:
        lines += ["", *drawn]
    if result.windows:
        lines += ["", *_table(result)]
    return "\n".join(lines) + "\n"


def interval(result: FindResult, unit: str = "images/s") -> str:
    """The capacity with its interval."""
    rate, low, high = (
        (result.images_per_s, result.low_images_per_s, result.high_images_per_s)
        if unit == "images/s"
        else (result.requests_per_s, result.low_requests_per_s, result.high_requests_per_s)
    )
    between = f"{formats.number(low)} to {formats.number(high)}"
    return f"{formats.number(rate)} {unit} (95%: {between})"


def drawn_windows(result: FindResult) -> list[FindWindow]:
    """The windows worth drawing: those that count, and whose latency is known."""
    return [
        each
        for each in result.windows
        if each.thrown_out is None
        and each.latency_p95_s is not None
        and each.completed_images_per_s is not None
    ]


def plot(result: FindResult) -> list[str]:
    """p95 latency over throughput: `o` a window that met the SLO, `x` one that did not."""
    shown = drawn_windows(result)
    if len(shown) < 2:
        return []
    x = np.array([each.completed_images_per_s for each in shown], dtype=np.float64)
    y = np.array([each.latency_p95_s for each in shown], dtype=np.float64)
    right, high = 1.05 * float(x.max()), TOP * result.limit_s
    rows = [[" "] * PLOT_COLUMNS for _ in range(PLOT_ROWS)]
    slo_row = _row(result.limit_s, high)
    rows[slo_row] = ["-"] * PLOT_COLUMNS
    for rate, mark in (
        (result.low_images_per_s, ":"),
        (result.high_images_per_s, ":"),
        (result.images_per_s, "|"),
    ):
        if rate is not None and rate <= right:
            for row in rows:
                row[_column(rate, right)] = mark
    for each, at, latency in zip(shown, x, y, strict=True):
        met = each.missed <= result.allowed_share * each.requests
        rows[_row(float(latency), high)][_column(float(at), right)] = "o" if met else "x"
    labels = {0: formats.seconds(high), slo_row: "SLO " + formats.seconds(result.limit_s)}
    lines = [f"{labels.get(k, ''):>12} |{''.join(row)}" for k, row in enumerate(rows)]
    lines.append(f"{'0':>12} +{'-' * PLOT_COLUMNS}")
    lines.append(f"{'':14}0{formats.images_per_s(right):>{PLOT_COLUMNS - 1}}")
    lines.append(
        f"{'':14}p95 latency over throughput; o met, x missed {result.slo}; | capacity, : interval"
    )
    return lines


def _found(result: FindResult) -> str:
    slo = f"{result.slo}{{stub}}"
    if result.verdict is FindVerdict.UNMET:
        return f"{slo} cannot be met at any rate: it is missed even where requests are alone."
    if result.verdict is FindVerdict.UNKNOWN:
        about = ""
        if result.images_per_s is not None:
            about = f"; best estimate {formats.images_per_s(result.images_per_s)}"
        said = f"Not enough data for a 95% interval of the capacity at {slo}{about}"
        return f"{said}. Give more --time."
    if result.verdict is FindVerdict.AT_LEAST:
        return (
            f"The capacity at {slo} is at least {formats.images_per_s(result.images_per_s)}: "
            "no rate that was sent missed it."
        )
    wide = ""
    if result.verdict is FindVerdict.WIDE:
        wide = f", wider than the ± {formats.share(result.precision)} asked"
    requests = "" if result.images_per_s == result.requests_per_s else f", {_requests(result)}"
    return (
        f"The capacity at {slo} is {interval(result)}{requests}: "
        f"± {formats.share(result.half_width)}{wide}."
    )


def _requests(result: FindResult) -> str:
    return f"{formats.number(result.requests_per_s)} requests/s"


def _table(result: FindResult) -> list[str]:
    head = f"{'window':>6} {'requests/s':>10} {'images/s':>9} {'p50':>9} {'p95':>9} {'p99':>9}"
    lines = [f"{head} {'missed':>9} {'warm-up':>9}"]
    for each in result.windows:
        cells = [
            f"{each.index + 1:>6}",
            f"{formats.number(each.rate_per_s):>10}",
            f"{formats.number(each.completed_images_per_s):>9}",
            *(
                f"{formats.seconds(value):>9}"
                for value in (each.latency_p50_s, each.latency_p95_s, each.latency_p99_s)
            ),
            f"{formats.share(each.miss_share):>9}",
            f"{formats.seconds(each.warm_up_s):>9}",
        ]
        note = "ramp" if each.short else ""
        lines.append(" ".join([*cells, each.thrown_out or note]).rstrip())
    return lines


def _column(rate: float, right: float) -> int:
    return min(PLOT_COLUMNS - 1, int(rate / right * PLOT_COLUMNS))


def _row(latency_s: float, high_s: float) -> int:
    return PLOT_ROWS - 1 - min(PLOT_ROWS - 1, int(latency_s / high_s * PLOT_ROWS))
