import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from profiles.record.folder import RunFolder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = """
import os, sys
os.setgroups([])
os.setuid(65534)
open(sys.argv[1]).read()
"""


@pytest.fixture(autouse=True)
def usual_umask() -> object:
    """As most users have it; put back behind each test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_run_is_its_users_alone(tmp_path: Path) -> None:
    """F1: prompts and command lines are in it."""
    folder = RunFolder.create(tmp_path / "runs", "ghibli", None, NOW)
    assert mode(folder.path) == 0o700
    assert mode(tmp_path / "runs") == 0o755  # where others may have runs of their own
    with folder.log_path("locust").open("w") as log:
        subprocess.run(["touch", folder.path / "by-a-child"], check=True, stdout=log)
    folder.requests_writer("locust-0").close()
    folder.scenario_path.write_text("[curve]")
    assert {path.name: mode(path) for path in folder.path.iterdir()} == dict.fromkeys(
        ["locust.log", "by-a-child", "requests-locust-0.jsonl", "scenario.toml", ".reserve"], 0o600
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("is_private", [True, False])
def test_another_user_reads_nothing_of_it(*, is_private: bool) -> None:
    """And does, were it not for the folder: pytest's own folders would hide it anyway."""
    with TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        folder = RunFolder.create(Path(place), "ghibli", None, NOW)
        folder.scenario_path.write_text("[curve]")
        if not is_private:
            folder.path.chmod(0o755)
            folder.scenario_path.chmod(0o644)
        command = [sys.executable, "-c", OTHER, str(folder.scenario_path)]
        told = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert ("PermissionError" in told.stderr) == is_private, told.stderr
