from pathlib import Path

import pytest

from benchmarks.find import CASES, main, overhead_s
from profiles.run import RunFolder
from tests.profiles.synthetic import record


@pytest.mark.parametrize("name", CASES)
def test_what_http_adds_lowers_the_truth_a_little(name: str) -> None:
    case = CASES[name]
    whole, less = case.truth(), case.truth([0.005])
    assert 0.97 * whole < less < whole < 160  # 8 servers of 50 ms
    assert less < case.truth([0.0, 0.005]) < whole


def test_slo_as_the_command_takes_it() -> None:
    assert CASES["m/d/8"].slo == "p(95) < 100ms"


def test_the_overhead_is_what_the_server_does_not_tell(tmp_path: Path) -> None:
    lines = RunFolder(tmp_path).requests_writer("one")
    for seq, queue_s in enumerate((0.1, 0.5, 0.6)):  # an ok request takes 1 s
        lines.add(record(seq, queue_s=queue_s, denoise_s=0.3, decode_s=0.0))
    lines.close()
    added = overhead_s(RunFolder(tmp_path))
    assert [added[0], added[50], added[-1]] == pytest.approx([0.1, 0.2, 0.6], abs=0.01)


def test_nothing_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--read", str(tmp_path), "--case", "m/d/8"]) == 1
    assert "holds no search" in capsys.readouterr().err
