"""From what the cells counted to `Simulated`. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiles.fleet.kernel import histogram
from profiles.fleet.kernel.state import (
    ATTEMPTS,
    BUSY_S,
    DONE,
    DONE_IMAGES,
    FLIGHT_S,
    GOOD,
    GOOD_IMAGES,
    IMAGES_S,
    OFFERED,
    OFFERED_IMAGES,
    OK,
    REFUSED,
    TRIED_IMAGES,
    UP_S,
    Floats,
    Records,
)
from profiles.schema import Outcome
from profiles.schema.fleet import Fleet, People, Simulated

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Totals:
    """Sums over cells: `minutes` (rows, COLUMNS), `latency` (rows, BINS), and a record a cell."""

    minutes: Floats
    latency: npt.NDArray[np.int64]
    state: Records


def simulated(
    fleet: Fleet,
    people: People,
    totals: Totals,
    *,
    seed: int,
    duration_s: float,
    slo_s: float,
    from_s: float,
) -> Simulated:
    """The result in numbers."""
    minutes = totals.minutes
    if not people.counts_images:  # the kernel kept no count of its own
        minutes = minutes.copy()
        minutes[:, [OFFERED_IMAGES, TRIED_IMAGES, DONE_IMAGES, GOOD_IMAGES]] = minutes[
            :, [OFFERED, ATTEMPTS, DONE, GOOD]
        ]
    every, load = minutes.sum(axis=0), minutes[:-1].sum(axis=0)
    counts = totals.latency.sum(axis=0)
    state = {name: float(totals.state[name].sum()) for name in ("waits", "wait_s", "waited",
             "oks", "latency_s", "flight_s", "paying_requests", "paying_good")}  # fmt: skip
    requests, attempts = int(every[OFFERED]), int(every[ATTEMPTS])
    images, good = int(every[OFFERED_IMAGES]), int(every[GOOD])
    return Simulated(
        fleet=fleet,
        people=people,
        seed=seed,
        duration_s=duration_s,
        slo_s=slo_s,
        requests=requests,
        images=images,
        attempts=attempts,
        outcomes={name.value: int(every[code]) for code, name in enumerate(Outcome)},
        refused_attempts=int(every[REFUSED]),
        offered_images_per_s=images / duration_s,
        completed_images_per_s=float(load[DONE_IMAGES]) / duration_s,
        goodput_images_per_s=float(load[GOOD_IMAGES]) / duration_s,
        slo_share=_ratio(good, requests),
        slo_share_by_class=_by_class(
            (state["paying_good"], state["paying_requests"]),
            (good - state["paying_good"], requests - state["paying_requests"]),
        )
        if people.paying_share < 1.0
        else {},
        shed_share=_ratio(every[REFUSED], attempts),
        latency_p50_s=histogram.quantile_s(counts, 0.5),
        latency_p95_s=histogram.quantile_s(counts, 0.95),
        latency_p99_s=histogram.quantile_s(counts, 0.99),
        latency_mean_s=_ratio(state["latency_s"], state["oks"]),
        latency_resolution=histogram.RESOLUTION,
        wait_mean_s=_ratio(state["wait_s"], state["waits"]),
        waited_share=_ratio(state["waited"], state["waits"]),
        in_flight_mean=state["flight_s"] / max(duration_s - from_s, 1e-9),
        busy_share=_ratio(load[BUSY_S], load[UP_S]),
        batch_mean=_ratio(load[IMAGES_S], load[BUSY_S]),
        minutes=_by_minute(minutes[:-1], duration_s),
        latency_by_minute_s={
            name: [histogram.quantile_s(row, share) for row in totals.latency[:-1]]
            for name, share in SHARES.items()
        },
        latency_counts=counts.tolist(),
        assumptions=assumptions(fleet, people),
    )


def _by_minute(rows: Floats, duration_s: float) -> dict[str, list[float]]:
    """Curves: rates a second, and means over each minute."""
    width_s = np.full(len(rows), 60.0)
    width_s[-1] = duration_s - 60.0 * (len(rows) - 1)
    columns = {"offered_per_s": OFFERED_IMAGES, "attempts_per_s": TRIED_IMAGES,
               "refused_per_s": REFUSED, "completed_per_s": DONE_IMAGES,
               "goodput_per_s": GOOD_IMAGES, "in_flight": FLIGHT_S,
               "gpus_ready": UP_S, "gpus_busy": BUSY_S, "images_running": IMAGES_S}  # fmt: skip
    named = {f"{name.value}_per_s": OK + code for code, name in enumerate(Outcome)}
    return {name: (rows[:, at] / width_s).tolist() for name, at in (columns | named).items()}


def _by_class(paying: tuple[float, float], free: tuple[float, float]) -> dict[str, float]:
    """Shares in time of those classes that asked for anything."""
    told = {"paying": _ratio(*paying), "free": _ratio(*free)}
    return {name: share for name, share in told.items() if share is not None}


def assumptions(fleet: Fleet, people: People) -> list[str]:
    """What the figures stand on, one sentence each, with its standing first."""
    service = fleet.service
    line = f"{service.step_base_s:.4g} s + n·{service.step_image_s:.4g} s"
    stand = "Assumed" if service.basis == "stated" else "Measured"
    tail = f"a tail of {service.tail_s:.4g} s"
    steps = _mixed(people.steps) or service.steps
    images = "one image" if not people.counts_images else f"{_mixed(people.images)} images"
    told = [
        f"{stand}: {steps} steps of {line} for n images; {tail} ({service.basis})",
        f"Assumed: cells of {fleet.cell_gpus:,} GPUs, a router each; arrivals fall at random",
        f"Assumed: a request is of {images}, on one GPU unless the queue is central",
        "Assumed: the router knows how many requests each GPU has",
        "Assumed: network, HTTP and the shared layer before the cells cost no time",
    ]
    if service.no_gpu:
        told.insert(
            0,
            "Assumed: servers as slow as the one measured, which had no GPU: nothing of this says "
            "how many GPUs it takes. Measure on one for that",
        )
    if fleet.gpu_spread:
        told.append(f"Assumed: GPUs differ, the logarithm of their seconds by {fleet.gpu_spread:g}")
    if fleet.autoscaling is not None:
        told.append(
            f"Published: Ray Serve's autoscaling rules, delays "
            f"{fleet.autoscaling.upscale_delay_s:g} s up, "
            f"{fleet.autoscaling.downscale_delay_s:g} s down; a model loads in "
            f"{fleet.load_least_s:g} to {fleet.load_most_s:g} s"
        )
    if fleet.failures is not None:
        told.append(
            f"Published: an interruption each {fleet.failures.gpu_hours_each:,.0f} GPU-hours "
            f"(Llama 3); assumed: it takes {fleet.failures.node_gpus} GPUs, "
            f"{100 * fleet.failures.rack_share:g}% of them {fleet.failures.rack_gpus}"
        )
    if people.go_on or people.patience_s or people.retry != "none":
        told.append(f"Assumed: people wait, go on and try again ({people.retry}) as the scenario "
                    "says")  # fmt: skip
    for name, most in (("paying", people.paying_images), ("free", people.free_images)):
        if most is not None:
            told.append(f"Assumed: a session lies within a day, so a {name} person's ends with "
                        f"image {most}, the most of a day")  # fmt: skip
    return told


def _mixed(mix: tuple[tuple[int, float], ...]) -> str:
    """Values with their shares, such as "1 (60%) or 4 (40%)"; of one value, that."""
    if len(mix) == 1:
        return str(mix[0][0])
    total = sum(weight for _, weight in mix)
    return " or ".join(f"{value} ({100 * weight / total:.3g}%)" for value, weight in mix)


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole > 0 else None
