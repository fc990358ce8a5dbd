import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from serve.ray_cluster import RAYS, ServerError, _environment, _remove, _start
from tests.serve.conftest import ROOT


@pytest.mark.parametrize(("gpus", "off"), [(0, None), (2, "0")])
def test_the_hosts_memory_ends_no_replica_of_a_gpu(gpus: int, off: str | None) -> None:
    """GPU finding 9: Ray's memory monitor reads a virtual machine's memory before it has grown."""
    made = _environment(direct_ingress=True, gpus=gpus)
    assert made.get("RAY_memory_monitor_refresh_ms") == off


@pytest.mark.parametrize(
    ("faults", "cleared", "said"),
    [
        ([], 0, None),
        (["The current node timed out during startup."], 1, None),
        (["timed out", "timed out"], 1, "Ray did not start in time, 2 times"),
        (["no such address"], 0, "Ray cannot start: no such address"),  # would fail again
    ],
)
def test_ray_that_did_not_come_up_in_time_is_started_once_more(
    faults: list[str], cleared: int, said: str | None
) -> None:
    """F23."""
    left, clears = list(faults), []

    def start() -> None:
        if left:
            raise RuntimeError(left.pop(0))

    if said is None:
        _start(start, lambda: clears.append(1))
    else:
        with pytest.raises(ServerError, match=said):
            _start(start, lambda: clears.append(1))
    assert len(clears) == cleared


def test_ray_stays_on_loopback_whatever_the_door_listens_on() -> None:
    """F13."""
    for direct_ingress in (True, False):
        made = _environment(direct_ingress=direct_ingress, gpus=0)
        assert made["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


@pytest.mark.parametrize(("around", "arenas"), [(None, "2"), ("7", "7")])
def test_threads_share_two_arenas_unless_the_user_says_otherwise(
    around: str | None, arenas: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: with an arena a thread, a replica of 35 threads grew for as long as it served."""
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if around is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", around)
    assert _environment(direct_ingress=True, gpus=0)["MALLOC_ARENA_MAX"] == arenas


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


WRITES = "exec 3>>agent.log; echo up; read -r _"


@contextlib.contextmanager
def writer(name: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of that name, with a log in that folder open."""
    with subprocess.Popen(
        [name, "-c", WRITES], executable="/bin/sh", cwd=folder, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def test_whoever_is_killed_leaves_no_folder_and_no_agent(tmp_path: Path) -> None:
    """F22: the guard, which whoever clears up behind a run lets come to its end."""
    folder = tmp_path / "viralload-x"
    (folder / RAYS / "session").mkdir(parents=True)
    program = (
        "import time\n"
        "from pathlib import Path\n"
        "from serve.ray_cluster import _guard\n"
        f"with _guard(Path({str(folder)!r})):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with (
        writer("ray::RuntimeEnvAgent", folder / RAYS / "session") as agent,
        writer("less", folder / RAYS / "session") as reader,
        writer("ray::RuntimeEnvAgent", tmp_path) as another,
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as parent,
    ):
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.send_signal(signal.SIGKILL)
        wait_for(lambda: not folder.exists() and agent.poll() is not None)
        assert (reader.poll(), another.poll()) == (None, None)


def test_what_would_write_into_the_folder_again_is_ended_first(tmp_path: Path) -> None:
    """F22: an agent of a Ray that did not come up, and is nobody's child."""
    (tmp_path / "ours" / RAYS).mkdir(parents=True)
    agents = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", word])
        for word in (f"--temp-dir={tmp_path}/ours/{RAYS}", f"{tmp_path}/theirs/{RAYS}")
    ]
    try:
        with writer("ray::RuntimeEnvAgent", tmp_path / "ours" / RAYS) as hidden:
            _remove(tmp_path / "ours")
            assert not psutil.pid_exists(hidden.pid)
        assert [psutil.pid_exists(agent.pid) for agent in agents] == [False, True]
        assert not (tmp_path / "ours").exists()
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
