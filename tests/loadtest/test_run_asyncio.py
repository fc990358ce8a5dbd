"""Our crowd drives a server of another stack, which answers in every legal way it can think of."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.schema import Verdict
from tests.loadtest.asyncio_server import WAYS
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.test_run_foreign import assert_nothing_is_left

pytestmark = pytest.mark.e2e


@pytest.fixture
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.loadtest.asyncio_server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.communicate()


def test_every_legal_answer_is_ok_and_images_are_counted(tmp_path: Path, url: str) -> None:
    # 30 even images/s in answers of 3: 10 requests/s for 3 s; large enough that one in ten only
    # is decoded in full
    path = Path(scenario(tmp_path, rate=30, duration=3))
    text = path.read_text().replace('"64x64"', '"264x256"\nimages = 3')
    path.write_text(text)
    command = Viralload(tmp_path, ["run", str(path), "--host", url, "--json"])
    assert command.finish() in (0, 3), command.stderr  # 3: a busy machine sent late
    summary = command.summary
    assert summary.verdict in (Verdict.PASS, Verdict.INVALID)
    assert summary.outcomes["ok"] == summary.scheduled == 30, summary.errors
    assert summary.scheduled >= 2 * len(WAYS)
    assert (summary.scheduled_images, summary.ok_images) == (90, 90)
    assert summary.completed_images_per_s == pytest.approx(30.0, rel=0.15)
    assert summary.decoded == 3  # seq 0, 10, 20
    assert {r.decoded for r in command.folder.requests().read()} == {True, False}
    assert (
        "3 of 30 successful responses were fully decoded" in command.folder.report_path.read_text()
    )
    assert_nothing_is_left(command)
