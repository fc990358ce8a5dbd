"""The three policies under the same load: a burst, and Poisson arrivals around capacity.

    python -m benchmarks.engine [--model tiny --px 64 --steps 20 …]

The unit of load is the capacity of policy `none`: images/s of the stock pipeline, an image after
another, measured first; `--capacity` says it instead, and then the SLO is said in seconds. The
SLO is a multiple of the lone latency, measured with it. Then every policy gets the same seeded
arrivals, in one run on one warm model; a load at a time, so that a noisy moment of the machine
meets all policies (through HTTP: a server at a time). `none` and `request` take what fits their
queue; `step` also refuses at once what it predicts to miss the SLO, which is its deadline.

stderr shows the progress; the last line of stdout is one JSON object:
`result[policy][load]` with the figures of `benchmarks.cell.Figures`, and what it was measured on.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.baseline import base_of
from benchmarks.cell import (
    Figures,
    Outcome,
    burst_window,
    poisson,
    steady_window,
    summarize,
)
from benchmarks.doors import Door, in_process, over_http
from benchmarks.options import environment, parser_of, say, settings_of
from serve.settings import Settings, SettingsError

POLICIES = ("none", "request", "step")
LOADS = ("burst", "0.8", "1.0", "1.5", "3.0")
LONE_DEADLINE_S = 3600.0
# Images at once in a burst, as a multiple of the images `none` makes within the SLO.
BURST = 2.0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    arguments = _parse(argv)
    try:
        settings = settings_of(arguments)
        _check(arguments)
    except (SettingsError, ValueError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    told = asyncio.run(_measure(settings, arguments))
    text = json.dumps(told)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(text)  # noqa: T201
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be measured, before anything is loaded.

    Raises:
        ValueError: The SLO is none, or is a multiple of a latency that will not be measured.
    """
    slo, capacity = arguments.slo, arguments.capacity
    if not slo.removesuffix("s").replace(".", "", 1).isdecimal() or not _slo_s(slo, 1.0) > 0:
        raise ValueError(f"--slo: '{slo}' is no SLO such as 5 or 20s")
    if capacity is not None and not 0 < capacity < math.inf:
        raise ValueError(f"--capacity: {capacity:g} is no rate above 0 images/s")
    if capacity is not None and not slo.endswith("s"):
        raise ValueError(
            f"--slo: {slo} lone latencies cannot be told, since with --capacity none is measured; "
            "say it in seconds, as 20s"
        )


async def _measure(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    began_s = time.monotonic()
    warm, facts = await asyncio.to_thread(_warm, settings, http=arguments.http)
    none = msgspec.structs.replace(settings, policy="none")
    open_none = functools.partial(_door, none, warm, LONE_DEADLINE_S, http=arguments.http)
    base = await base_of(open_none, arguments.capacity)
    slo_s = _slo_s(arguments.slo, base.lone_s or math.nan)
    say(base.told(slo_s))
    arrivals = {
        load: _arrivals(load, base.images_per_s, slo_s, arguments.window, arguments.seed)
        for load in arguments.loads
    }
    limit = (facts.get("limits") or {}).get("matmul_flop_per_s")
    doors = {
        policy: functools.partial(
            _door,
            msgspec.structs.replace(settings, policy=policy),
            warm,
            slo_s,
            http=arguments.http,
        )
        for policy in arguments.policies
    }
    result: dict[str, dict[str, Any]] = {policy: {} for policy in doors}

    async def run(policy: str, door: Door, load: str) -> None:
        figures = await _cell(door, load, arrivals[load], arguments.window, slo_s, limit)
        result[policy][load] = msgspec.to_builtins(figures)
        say(_line(policy, load, figures))

    if arguments.http:  # a server at a time
        for policy, open_door in doors.items():
            async with open_door() as door:
                for load in arrivals:
                    await run(policy, door, load)
    else:  # a load at a time, so that a noisy moment of the machine meets all policies
        async with contextlib.AsyncExitStack() as stack:
            opened = {name: await stack.enter_async_context(d()) for name, d in doors.items()}
            for load in arrivals:
                for policy, door in opened.items():
                    await run(policy, door, load)
    return {
        "benchmark": "engine",
        "result": result,
        "slo_s": slo_s,
        "slo_multiple": None if base.lone_s is None else slo_s / base.lone_s,
        "lone_latency_s": base.lone_s,
        "none_capacity_images_per_s": base.images_per_s,
        "none_capacity_basis": "given" if arguments.capacity is not None else "measured",
        "tflop_per_image": None if base.flop is None else base.flop / 1e12,
        "through": "http" if arguments.http else "in process",
        "model": settings.model,
        "size": "{}x{}".format(*settings.warm_sizes[0]),
        "steps": settings.steps,
        "max_batch": settings.max_batch,
        "settings": msgspec.to_builtins(settings),
        "facts": facts,
        "window_s": arguments.window,
        "seed": arguments.seed,
        "seconds": time.monotonic() - began_s,
        **environment("benchmarks.engine"),
    }


def _warm(settings: Settings, *, http: bool) -> tuple[Any, dict[str, Any]]:
    """The warm model that all policies share, and its facts; with HTTP only the limits."""
    import torch

    from serve.devices.limits import measure
    from serve.diffusion.startup import default_recipe, start
    from serve.models.loading import pick_device

    say(f"loading {settings.model}")
    if http:
        device = pick_device(settings.device)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        limits = measure(device, dtype, budget_s=3.0)
        return None, {"device": device.type, "limits": msgspec.to_builtins(limits)}
    warm = start(msgspec.structs.replace(settings, policy="step"))
    warm.model.warm_up_batches(default_recipe(settings), settings.max_batch)
    return warm.model, dict(warm.facts)


def _door(
    settings: Settings, model: Any, slo_s: float, *, http: bool
) -> "contextlib.AbstractAsyncContextManager[Door]":
    return over_http(settings, slo_s) if http else in_process(model, settings, slo_s)


def _slo_s(text: str, lone_s: float) -> float:
    """Seconds of an SLO in lone latencies, or in seconds if it says so."""
    return float(text.removesuffix("s")) * (1.0 if text.endswith("s") else lone_s)


def _arrivals(load: str, capacity: float, slo_s: float, window_s: float, seed: int) -> list[float]:
    if load == "burst":
        return [0.0] * max(2, round(BURST * capacity * slo_s))
    rate = float(load.removesuffix("/s")) * (1.0 if load.endswith("/s") else capacity)
    return poisson(rate, window_s, seed)


async def _cell(
    door: Door,
    load: str,
    times: Sequence[float],
    window_s: float,
    slo_s: float,
    limit: float | None,
) -> Figures:
    """Send each request when it is due, wait for all, and count."""
    begin_s = time.perf_counter()
    asked: list[asyncio.Task[Outcome]] = []
    for seed, due_s in enumerate(times):
        await asyncio.sleep(begin_s + due_s - time.perf_counter())
        asked.append(asyncio.ensure_future(door.ask(seed, due_s, begin_s)))
    outcomes = await asyncio.gather(*asked)
    window = burst_window(outcomes) if load == "burst" else steady_window(window_s)
    return summarize(outcomes, window, slo_s=slo_s, limit_flop_per_s=limit)


def _line(policy: str, load: str, figures: Figures) -> str:
    def seconds(value: float | None) -> str:
        return "   —   " if value is None else f"{value:6.3f}s"

    percent = "" if figures.limit_percent is None else f"  {figures.limit_percent:4.1f}% of limit"
    return (
        f"{policy:8}{load:>6}  goodput {figures.goodput_images_per_s:7.2f}/s  "
        f"p50 {seconds(figures.latency_p50_s)}  p95 {seconds(figures.latency_p95_s)}  "
        f"batch {figures.batch_mean or 0:5.2f}  images {figures.images_per_s:7.2f}/s  "
        f"refused {figures.refused_share:5.1%}{percent}"
    )


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of("benchmarks.engine", __doc__)
    parser.add_argument("--window", type=float, default=25.0, help="seconds of arrivals a cell")
    parser.add_argument("--slo", default="5", help="in lone latencies, or in seconds as 20s")
    parser.add_argument(
        "--capacity",
        type=float,
        metavar="RATE",
        help="images/s that policy none makes, not measured; wants an --slo in seconds",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--http", action="store_true", help="through the server")
    parser.add_argument("--policies", type=_words(POLICIES), default=POLICIES)
    parser.add_argument(
        "--loads",
        type=_words(()),
        default=LOADS,
        help="burst, times capacity, or images/s as 2.4/s",
    )
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    return parser.parse_args(argv)


def _words(valid: Sequence[str]) -> Any:
    def split(text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(","))
        for word in words:
            if valid and word not in valid:
                raise argparse.ArgumentTypeError(f"'{word}' is none of {', '.join(valid)}")
            if not valid and word != "burst" and not float(word.removesuffix("/s")) > 0:
                raise argparse.ArgumentTypeError(f"'{word}' is no load above 0")
        return words

    return split


if __name__ == "__main__":
    sys.exit(main())
