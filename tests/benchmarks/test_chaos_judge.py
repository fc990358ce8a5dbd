from typing import Any

import msgspec
import pytest

from benchmarks.chaos_draw import Act, Case, How, Role, Setting
from benchmarks.chaos_expected import accused
from benchmarks.chaos_judge import Judged, Seen, Told, judge
from benchmarks.chaos_roles import Process

VICTIM = [Process(pid=7, parent=1, name="x", words=("x",))]
OUTCOMES = {"ok": 90, "timeout": 8, "unsent": 2}
LATE = "The generator was late: 1 % of the requests left 300 ms or more after their time (bound"
STALL = "The event loop of generator locust-0 stood still for 2.98 s (bound 1.00 s), and nothing"
DIED = "The load generator died (the load generator was killed by signal 9: it said nothing); see"
SAMPLER = "The sampler died, so the readings of the hardware stop short (the sampler was killed by "
SERVER = "The server died under the load (the server was killed by signal 9: it said nothing); see"
UNHEALTHY = "The server was unhealthy from 4.4 s into the load (not every replica is up); see its"
MISSING = "The record does not add up: 2 of 100 scheduled requests have no record and are counted"
DRIVER = "The run's driver was killed before it could finish the record; run it again."
SILENT = "The sampler was silent for 7.0 s of the load about the machine vm (bound 5 s); see the"
FULL = "The run ended with an error (the disk of /runs is full, and nothing more can be recorded"
FILES = "The generator's own machine failed 9 requests (bound 0), which says nothing about the "
NOTHING = "Nothing was scheduled: the run ended before its load was planned; see the events and"


def case(how: How, target: Role | None = None, setting: Setting = "embedded", **act: Any) -> Case:
    return Case(
        seed=1, index=0, setting=setting, processes=2, people=False, rate_per_s=40,
        act=Act(how=how, target=target, **act),
    )  # fmt: skip


def seen(verdict: str = "pass", *reasons: str, **other: Any) -> Seen:
    told = Told(verdict=verdict, reasons=list(reasons), outcomes=OUTCOMES, scheduled=100)
    code = {"pass": 0, "fail": 99, "invalid": 3, "interrupted": 130}[verdict]
    plain: dict[str, Any] = {
        "exit_code": code, "took_s": 30.0, "bound_s": 90.0, "hit": VICTIM, "told": told,
        "again": told, "folder": True, "schedule": 100, "recorded": {"ok": 90, "timeout": 8},
        "left": [],
    }  # fmt: skip
    return Seen(**(plain | other))


def fault(judged: Judged) -> str:
    assert judged.is_as == "fault"
    return "; ".join(judged.faults)


LONG: dict[str, Any] = {"for_s": 7.0}
SHORT: dict[str, Any] = {"for_s": 3.0}
RIGHT = [
    (case("none"), seen("pass")),
    (case("kill", "generator"), seen("invalid", DIED, MISSING)),
    (case("kill", "generator"), seen("invalid", DIED, LATE)),  # on a busy machine, as well
    (case("kill", "sampler"), seen("invalid", SAMPLER + "signal 9: it said nothing)")),
    (case("kill", "server"), seen("invalid", SERVER)),
    (case("kill", "gcs"), seen("invalid", UNHEALTHY)),
    (case("kill", "replicas"), seen("invalid", UNHEALTHY)),
    (case("kill", "replicas", "foreign"), seen("fail")),
    (case("kill", "haproxy", "foreign"), seen("fail")),
    (case("kill", "controller"), seen("pass")),
    (case("kill", "driver"), seen("invalid", DRIVER, MISSING, exit_code=-9, told=None)),
    (case("stop", "generator", **SHORT), seen("invalid", LATE, STALL)),
    (case("stop", "replicas", for_s=None), seen("fail")),
    (case("stop", "sampler", **SHORT), seen("pass")),
    (case("stop", "sampler", **LONG), seen("invalid", SILENT)),
    (case("interrupt", "driver"), seen("interrupted")),
    (case("leave", "driver"), seen("interrupted", told=None)),
    (case("full disk", amount=200), seen("invalid", FULL)),
    (case("full disk", amount=200), seen("invalid", FULL, exit_code=1, told=None)),
    (case("few files", amount=24), seen("invalid", FILES + "server: Too many open files; raise")),
    (
        case("kill", "server", under_load=False),
        seen(
            "invalid", "The run ended with an error (the server ended at start: it said", NOTHING,
            exit_code=1, told=None,
        ),
    ),
    (case("kill", "driver", under_load=False), seen("pass", exit_code=-9, told=None)),
    (
        case("kill", "driver", under_load=False),
        seen(exit_code=-9, told=None, again=None, folder=False, schedule=None, recorded={}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "seen"), RIGHT)
def test_what_is_right(case: Case, seen: Seen) -> None:
    assert judge(case, seen) == Judged(is_as="as expected", faults=[])


WRONG = [
    (case("none"), seen("fail"), "verdict fail"),
    (case("none"), seen(exit_code=None), "did not end by itself in 90 s"),
    (case("none"), seen(exit_code=1), "exit code 1, not one of [0]"),
    (case("none"), seen(left=["process 5: raylet"]), "left behind: process 5: raylet"),
    (case("none"), seen(errors=["Traceback (most recent call last):"]), "on stderr: Traceback"),
    (case("none"), seen(again=None), "no report can be made"),
    (case("none"), seen(schedule=101), "100 scheduled, 101 in schedule.npy"),
    (case("none"), seen(recorded={"ok": 91, "timeout": 8}), "90 ok told, 91 in the record"),
    (case("none"), seen(recorded={"ok": 90}), "8 timeout told, 0 in the record"),
    (case("kill", "generator"), seen("pass"), "verdict pass, not one of ['invalid']"),
    (case("kill", "generator"), seen("invalid", SAMPLER), "accuses another (sampler)"),
    (case("kill", "generator"), seen("invalid", DIED, UNHEALTHY), "accuses another (server)"),
    (case("kill", "generator"), seen("invalid", MISSING, DIED), "first reason is not the cause"),
    (case("kill", "generator"), seen("invalid", DIED.replace("9", "15")), "does not say"),
    (case("kill", "generator"), seen("invalid", LATE), "first reason is not the cause"),
    (case("kill", "sampler"), seen("invalid", SILENT), "accuses another (silent)"),
    (case("kill", "server"), seen("invalid", DIED), "accuses another (generator)"),
    (case("kill", "server"), seen("fail"), "verdict fail"),
    (case("kill", "haproxy", "foreign"), seen("pass"), "verdict pass"),
    (case("kill", "replicas", "foreign"), seen("invalid", UNHEALTHY), "verdict invalid"),
    (case("kill", "driver"), seen("invalid", DRIVER), "exit code 3"),
    (case("stop", "driver", **SHORT), seen("invalid", SILENT), "verdict invalid"),
    (case("stop", "sampler", **LONG), seen("pass"), "verdict pass"),
    (case("full disk", amount=200), seen("invalid", SERVER), "accuses another (server)"),
    (case("few files", amount=24), seen("invalid", DIED), "does not say"),
    (case("interrupt", "driver"), seen("pass"), "verdict pass"),
    (case("kill", "generator"), seen("invalid"), "invalid without a reason"),
    (case("kill", "generator"), seen("invalid", DIED, "The moon."), "not known here: The moon."),
]  # fmt: skip


@pytest.mark.parametrize(("case", "seen", "words"), WRONG)
def test_what_is_wrong(case: Case, seen: Seen, words: str) -> None:
    assert words in fault(judge(case, seen))


def test_outcomes_that_do_not_add_up() -> None:
    told = Told(verdict="pass", reasons=[], outcomes={"ok": 90}, scheduled=100)
    assert "outcomes add up to 90, scheduled were 100" in fault(
        judge(case("none"), seen(told=told, again=told))
    )


def test_a_report_that_says_something_else() -> None:
    told = Told(verdict="fail", reasons=[], outcomes=OUTCOMES, scheduled=100)
    said = fault(judge(case("none"), seen(again=told)))
    assert "reported again, its verdict are 'fail', and were 'pass'" in said


@pytest.mark.parametrize(
    "act",
    [case("none"), case("stop", "replicas", for_s=3.0), case("kill", "controller")],
)
def test_lateness_of_a_busy_machine_is_told_apart(act: Case) -> None:
    assert judge(act, seen("invalid", LATE, STALL)).is_as == "late"
    assert judge(act, seen("invalid", LATE, STALL, left=["/tmp/x"])).is_as == "fault"


def test_a_run_that_a_busy_machine_kept_from_its_load_is_told_apart() -> None:
    said = "The run ended with an error (Ray did not start in time, 2 times: this machine is busy)"
    act = case("kill", "replica")
    never = seen("invalid", said, NOTHING, hit=[], exit_code=1, told=None)
    assert judge(act, never).is_as == "late"
    assert judge(act, msgspec.structs.replace(never, left=["/tmp/x"])).is_as == "fault"
    hit = msgspec.structs.replace(never, hit=VICTIM)  # then it was the act
    assert judge(act, hit).is_as == "fault"


def test_an_interrupted_run_may_have_been_late_as_well() -> None:
    stopped = "The run was stopped by the user after 9 s of the planned 15 s; run it again to the"
    act = case("leave", "driver")
    assert judge(act, seen("invalid", LATE, stopped, exit_code=130)).is_as == "late"
    assert judge(act, seen("invalid", stopped, exit_code=130)).is_as == "fault"


def test_a_target_that_was_not_there_is_no_success() -> None:
    act = case("kill", "sampler", under_load=False)
    assert judge(act, seen("pass", hit=[])).is_as == "not hit"
    assert judge(act, seen("invalid", SAMPLER, hit=[])).is_as == "fault"


def test_a_reason_is_known_by_its_beginning() -> None:
    assert accused(STALL) == "late"
    assert accused("Something about The load generator died") is None
    assert msgspec.structs.asdict(Judged(is_as="late", faults=[]))["is_as"] == "late"
