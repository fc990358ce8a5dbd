"""Why a run ended, by what its driver saw: the true cause, told at once (F8, F24, F25)."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from loadtest.driver.watch import UNREACHABLE_S, look_at_children, unreachable, watch
from loadtest.system.processes import Child
from profiles.record.folder import RunFolder
from profiles.schema import EndReason, Outcome, RequestRecord, RunEvent


def generator(folder: RunFolder, code: str) -> Child:
    return Child("load generator", [sys.executable, "-c", code], folder.log_path("locust"), {})


def watched(
    folder: RunFolder, child: Child, *, web: bool = False, on_start: Callable[[float], None] = print
) -> tuple[EndReason, str | None, float | None]:
    begin_s = time.monotonic()
    try:
        return watch(
            folder,
            {"load generator": child},
            1.0,
            allowed_s=30.0,
            server_url=None,
            clock=lambda: time.monotonic() - begin_s,
            interrupted=lambda: False,
            console=Console(file=sys.stderr),
            on_start=on_start,
            web=web,
        )
    finally:
        child.end(5.0)


def unsent(folder: RunFolder) -> None:
    folder.append_event(RunEvent(t_s=0.1, kind="load_start", source="locust"))
    writer = folder.requests_writer("0")
    writer.add(
        RequestRecord(
            seq=0, scheduled_s=0.5, outcome=Outcome.UNSENT, images=1, width=8, height=8,
            prompt_chars=1,
        )
    )  # fmt: skip
    writer.close()


def test_the_loads_start_is_told_once_while_it_is_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_event(RunEvent(t_s=7.5, kind="load_start", source="locust"))
    told: list[float] = []
    child = generator(folder, "import time; time.sleep(0.7)")
    assert watched(folder, child, on_start=told.append) == (EndReason.COMPLETED, None, 7.5)
    assert told == [7.5]


@pytest.mark.parametrize(
    ("web", "log", "reason", "said"),
    [
        (True, "", EndReason.INTERRUPTED, "stopped from Locust's web UI"),
        (False, "OSError: [Errno 24] Too many open files", EndReason.GENERATOR_DIED,
         "the load generator ended early: OSError: [Errno 24] Too many open files"),
    ],
)  # fmt: skip
def test_only_who_had_the_web_ui_can_have_stopped_it_there(
    tmp_path: Path, web: bool, log: str, reason: EndReason, said: str
) -> None:
    folder = RunFolder(tmp_path)
    unsent(folder)
    child = generator(folder, f"import sys; sys.stderr.write({log!r})")
    assert watched(folder, child, web=web)[:2] == (reason, said)


def test_a_lost_generator_is_told_in_the_masters_words(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    said = "1 of 2 generator processes were lost"
    folder.append_event(RunEvent(t_s=1.0, kind="generator_died", source="locust", detail=said))
    child = generator(folder, "print('Aggregated 47 51 56'); raise SystemExit(1)")
    assert watched(folder, child)[:2] == (EndReason.GENERATOR_DIED, said)


def test_and_in_its_own_where_it_could_still_say_why(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    said = "1 of 2 generator processes were lost"
    folder.append_event(RunEvent(t_s=1.0, kind="generator_died", source="locust", detail=said))
    why = "the record cannot be written: [Errno 27] File too large"
    child = generator(folder, f"import sys; sys.stderr.write('error: {why}\\n'); sys.exit(1)")
    assert watched(folder, child)[:2] == (EndReason.GENERATOR_DIED, f"{said}: {why}")


def test_the_masters_error_is_not_told_twice(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    said = "lost worker 1 (locust-1 on b): it was silent for 5 s"
    folder.append_event(RunEvent(t_s=1.0, kind="generator_died", source="locust", detail=said))
    child = generator(folder, f"import sys; sys.stderr.write('error: {said}\\n'); sys.exit(1)")
    assert watched(folder, child)[:2] == (EndReason.GENERATOR_DIED, said)


@pytest.mark.parametrize(
    ("asked", "is_lost"),
    [
        ([(None, 2.0)] * 6, True),  # six times, 3 s each
        ([(None, 0.0)] * 14, False),  # refused at once, 1 s each
        ([(None, 0.0)] * 16, True),
        ([(None, 60.0)], False),  # this process stood still for a minute (Ctrl-Z)
        ([(None, 2.0)] * 4 + [(False, 0.1)] + [(None, 2.0)] * 4, False),
    ],
)
def test_only_a_servers_own_silence_counts(
    asked: list[tuple[bool | None, float]], is_lost: bool
) -> None:
    silent_s = 0.0
    for answer, took_s in asked:
        silent_s = unreachable(silent_s, answer, took_s)
    assert (silent_s > UNREACHABLE_S) is is_lost


class Disk(NamedTuple):
    """As statvfs tells it."""

    f_bavail: int
    f_frsize: int = 4096
    f_blocks: int = 1000


@pytest.mark.parametrize(("blocks", "said"), [(0, "is full, and nothing more can be"), (9, None)])
def test_a_full_disk_is_the_cause_whoever_died_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, said: str | None
) -> None:
    child = generator(RunFolder(tmp_path), "import time; time.sleep(60)")
    monkeypatch.setattr(os, "statvfs", lambda _path: Disk(blocks))
    reason, detail = look_at_children({"load generator": child}, lambda: False)
    child.end(5.0)
    assert reason is (None if said is None else EndReason.ERROR)
    assert said is None or said in (detail or "")


def test_a_run_folder_that_was_deleted_is_the_cause(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    child = generator(folder, "import time; time.sleep(60)")
    folder.remove()
    reason, detail = look_at_children({"load generator": child}, lambda: False)
    child.end(5.0)
    assert reason is EndReason.ERROR
    assert "is gone: it was moved or deleted" in (detail or "")
