"""What a load generator says against itself: its clock, its loop, its core, its sockets. Pure.

Each reason is a full sentence that ends with what to do about it. A bound of None is not judged.
"""

from collections.abc import Iterator

from profiles.record.columns import Recorded
from profiles.requests.rates import LoadWindow
from profiles.schema import LOCAL_ERROR, ClockSample, LoadSample

MORE = "use more --processes, a lower rate, or another machine for the generator"


def clock_uncertainty_s(clocks: list[ClockSample]) -> float | None:
    """How far instants of a generator on another machine may be off; None: there is none.

    Of each generator the largest uncertainty of its readings, and how far the offset moved between
    the first, by which all its records go, and the others; the worst generator counts.
    """
    first: dict[str, ClockSample] = {}
    worst_s: float | None = None
    for clock in clocks:
        moved_s = abs(clock.offset_s - first.setdefault(clock.generator, clock).offset_s)
        worst_s = max(worst_s or 0.0, clock.uncertainty_s + moved_s)
    return worst_s


def lateness_reason(
    recorded: Recorded, lateness_p99_s: float | None, uncertainty_s: float | None
) -> list[str]:
    """That it sent too late, or may have, as far as its clock is known."""
    bound_s = recorded.manifest.lateness_bound_s
    if lateness_p99_s is None or lateness_p99_s + (uncertainty_s or 0.0) <= bound_s:
        return []
    bound = f"(bound {1e3 * bound_s:,.0f} ms)"
    if lateness_p99_s > bound_s:
        said = (
            f"The generator was late: 1% of the requests left {1e3 * lateness_p99_s:,.0f} ms or "
            f"more after their time {bound}, so the load was not the scenario's; use a lower rate, "
            "more --processes, or another machine for the generator."
        )
        return [said]
    said = (
        f"The generator may have been late: 1% of the requests left {1e3 * lateness_p99_s:,.0f} "
        f"ms or more after their time, and its clock may be {1e3 * (uncertainty_s or 0.0):,.0f} ms "
        f"off the master's {bound}; use a shorter way between the two, or synchronize the clocks."
    )
    return [said]


def self_accusations(recorded: Recorded, window: LoadWindow | None) -> list[str]:
    """That its event loop stood still, its thread was full, or its machine ran out of sockets."""
    manifest, reasons = recorded.manifest, []
    if window is not None:
        samples = [s for s in recorded.load if window.start_s <= s.t_s <= window.end_s + 1]
        reasons += _stall(samples, manifest.loop_stall_bound_s)
        reasons += _busy(samples, manifest.loop_cpu_bound_pct, manifest.loop_cpu_bound_for_s)
    errors = recorded.requests.errors
    local = {text: count for text, count in errors.items() if text.startswith(LOCAL_ERROR)}
    bound = manifest.local_error_bound
    if bound is not None and sum(local.values()) > bound:
        most = max(local, key=lambda text: local[text]).removeprefix(LOCAL_ERROR)
        reasons.append(
            f"The generator's own machine failed {sum(local.values()):,} requests (bound {bound}), "
            f"which says nothing about the server: {most}; raise `ulimit -n`, widen "
            "net.ipv4.ip_local_port_range, or use more machines (--expect-workers)."
        )
    return reasons


def _stall(samples: list[LoadSample], bound_s: float | None) -> list[str]:
    worst = max(samples, key=lambda sample: sample.loop_lag_s or 0.0, default=None)
    if bound_s is None or worst is None or (worst.loop_lag_s or 0.0) <= bound_s:
        return []
    said = (
        f"The event loop of generator {worst.generator} stood still for {worst.loop_lag_s:.2f} s "
        f"(bound {bound_s:.2f} s), and nothing was sent or read meanwhile; {MORE}."
    )
    return [said]


def _busy(samples: list[LoadSample], bound_pct: float | None, for_s: float | None) -> list[str]:
    if bound_pct is None or for_s is None:
        return []
    longest = max(_spells(samples, bound_pct), default=(0.0, ""))
    if longest[0] < for_s or not longest[1]:
        return []
    said = (
        f"The sending thread of generator {longest[1]} kept more than {bound_pct:.0f}% of a core "
        f"busy for {longest[0]:.0f} s (bound {for_s:.0f} s), so its times are its own; {MORE}."
    )
    return [said]


def _spells(samples: list[LoadSample], bound_pct: float) -> Iterator[tuple[float, str]]:
    """(seconds, generator) of every stretch of samples above the bound, as it grows."""
    last_s: dict[str, float] = {}
    spell_s: dict[str, float] = {}
    for sample in samples:
        name = sample.generator
        since_s = sample.t_s - last_s.get(name, sample.t_s)
        is_busy = (sample.loop_cpu_pct or 0.0) > bound_pct
        spell_s[name] = spell_s.get(name, 0.0) + since_s if is_busy else 0.0
        last_s[name] = sample.t_s
        yield spell_s[name], name
