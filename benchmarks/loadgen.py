"""How well load generators keep to a schedule: `python -m benchmarks.loadgen`.

A null image server (`benchmarks.null_server`, a process of its own, 100 KB answers) stamps every
request as it comes; each generator found here is asked for the same loads, and is judged by those
stamps alone (`benchmarks.lateness`). How each is asked stands in `benchmarks.generators`: ours by
`viralload run`, plain Locust, and k6, vegeta and AIPerf where they are on the PATH.

Cases, `--seconds` each:

"200/s 2s"   a constant rate, the server takes 2 s; "200/s 2s stall": it also keeps back, for 1 s in
             the middle, every answer that is ready then
"max"        the highest constant rate with a p99 lateness below 10 ms and all sent; no service time
"curve"      a flash crowd up to 200/s: the greatest difference of the count of arrivals from the
             count that was due, at any instant, within a tolerance in time
"million"    (`--million N`) N requests by ours at `--million-rate`: its memory along the way

Per case: lateness_p50_s, lateness_p99_s, sent_share, and cpu_s_per_request, the CPU time of all the
generator's processes between the first arrival and the last answer, over the requests of that time.

Progress goes to stderr. The last line of stdout is one JSON object, `result[generator][case]`. All
share the machine's cores.

Exit codes: 0 measured, 1 a generator sent nothing at all, 2 usage.
"""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

from benchmarks.generators import CURVES, GENERATORS, is_here
from benchmarks.lateness import highest
from benchmarks.null_server import Service
from benchmarks.options import say
from benchmarks.trial import Asked, curve_case, million_case, rate_case

CASES = ("rates", "max", "curve")
LATE_S = 0.01  # p99, of "max"
ALL_SENT = 0.999
RATIO = 1.12  # of the search for the highest rate
TRIES = 2  # a rate fails if it fails so often: others use this machine, too
MAX_PER_S = 8000.0

Result = dict[str, dict[str, dict[str, Any]]]


def measure(asked: Asked, names: list[str], cases: list[str], cores: int) -> Result:
    """Every case of every generator."""
    result: Result = {}
    for name in names:
        found: dict[str, dict[str, Any]] = {}
        if "rates" in cases:
            for rate_per_s, service in asked.rate_cases():
                case = case_name(rate_per_s, service)
                found[case] = rate_case(name, rate_per_s, service, asked)
                _tell(name, case, found[case])
        if "curve" in cases and name in CURVES:
            found["curve"] = curve_case(name, asked)
            _tell(name, "curve", found["curve"])
        if "max" in cases:
            found["max"] = max_case(name, 1, asked)
            _tell(name, "max", found["max"])
        result[name] = found
    if "max" in cases and "viralload" in names and cores > 1:
        result["viralload x2"] = {"max": max_case("viralload", 2, asked)}
        _tell("viralload x2", "max", result["viralload x2"]["max"])
    return result


def case_name(rate_per_s: float, service: Service) -> str:
    """Such as "200/s 2s stall"."""
    stall = "" if service.stall_at_s is None else " stall"
    return f"{rate_per_s:g}/s {service.service_s:g}s{stall}"


def max_case(name: str, processes: int, asked: Asked) -> dict[str, Any]:
    """The highest rate that a generator keeps on time, and how it kept it."""
    kept: dict[float, dict[str, Any]] = {}

    def holds(rate_per_s: float) -> bool:
        for _ in range(TRIES):
            told = rate_case(name, rate_per_s, Service(), asked, asked.window_s, processes)
            _tell(name, f"max? {rate_per_s:g}/s", told)
            late_s = told["lateness_p99_s"]
            if late_s is not None and late_s < LATE_S and told["sent_share"] >= ALL_SENT:
                kept[rate_per_s] = told
                return True
        return False

    best = highest(holds, asked.start_per_s, MAX_PER_S, RATIO)
    return {"requests_per_s": best, **(kept[best] if best is not None else {})}


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    arguments = _parser().parse_args(argv)
    names = [name for name in arguments.generators if is_here(name)]
    for name in sorted(set(arguments.generators) - set(names)):
        say(f"{name}: skipped, it is not on the PATH")
    asked = Asked(
        seconds=arguments.seconds,
        rates_per_s=tuple(arguments.rates),
        services_s=tuple(arguments.services),
        window_s=arguments.window,
        start_per_s=arguments.start,
    )
    cores = len(os.sched_getaffinity(0))
    result = measure(asked, names, arguments.cases, cores)
    if arguments.million:
        told = million_case(arguments.million, arguments.million_rate, arguments.processes)
        result.setdefault("viralload", {})["million"] = told
        _tell("viralload", "million", told)
    print(json.dumps({"result": result} | _machine(cores)))  # noqa: T201
    sent = [case.get("sent_share", 1.0) for cases in result.values() for case in cases.values()]
    return 0 if all(sent) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loadgen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--generators", nargs="+", choices=tuple(GENERATORS), default=list(GENERATORS))
    add("--cases", nargs="*", choices=CASES, default=list(CASES))
    add("--rates", nargs="+", type=_positive, default=[50.0, 200.0], help="requests/s")
    add("--services", nargs="+", type=_duration, default=[0.0, 2.0], help="service times, s")
    add("--seconds", type=_positive, default=8.0, help="of each case")
    add("--window", type=_positive, default=4.0, help="seconds, of each try for max")
    add("--start", type=_positive, default=400.0, help="requests/s, the first try for max")
    add("--million", type=int, default=0, metavar="N", help="play N requests, watch the memory")
    add("--million-rate", type=_positive, default=1000.0, help="requests/s")
    add("--processes", type=int, default=1, help="generator processes, of --million")
    return parser


def _tell(name: str, case: str, told: dict[str, Any]) -> None:
    shown = {
        key: f"{1e3 * value:.3g} ms" if key.endswith(("_s", "_request")) and key[-6:] != "_per_s"
        else f"{value:.6g}"
        for key, value in told.items()
        if isinstance(value, int | float)
    }  # fmt: skip
    say(f"{name} {case}: " + ", ".join(f"{key} {value}" for key, value in shown.items()))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _duration(text: str) -> float:
    return float(text) and _positive(text)


def _machine(cores: int) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": cores,
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
