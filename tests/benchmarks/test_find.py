from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.find import CASES, BenchmarkError, Search, before, main, measured, overhead_s
from profiles.record.folder import RunFolder
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


def search(seed: int, **told: Any) -> Search:
    plain: dict[str, Any] = {
        "truth_per_s": 100.0, "estimate_per_s": 101.0, "low_per_s": 98.0, "high_per_s": 104.0,
        "verdict": "found", "took_s": 400.0, "windows_thrown_out": 0, "overhead_p50_s": 0.002,
        "overhead_p95_s": 0.005,
    }  # fmt: skip
    return Search(seed=seed, **(plain | told))


def test_what_counts_as_found() -> None:
    found = measured(
        CASES["m/d/8"],
        [
            search(5),
            search(4, estimate_per_s=104.0, low_per_s=101.0, high_per_s=107.0),
            search(3, high_per_s=None),
            search(2, low_per_s=None),
            search(1, estimate_per_s=None, low_per_s=None, high_per_s=None),
        ],
    )
    assert [one.seed for one in found.searches] == [1, 2, 3, 4, 5]
    assert [one.covered for one in found.searches] == [False, False, True, False, True]
    assert (found.repeats, found.covered, found.within_3_percent) == (5, 2, 3)


def test_searches_of_before_count_too(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    case = CASES["m/m/8"]
    path.write_bytes(msgspec.json.encode({"result": {"m/m/8": measured(case, [search(1)])}}))
    earlier = before(path)
    assert earlier == {"m/m/8": [search(1)]}
    assert measured(case, [*earlier["m/m/8"], search(2)]).repeats == 2
    with pytest.raises(BenchmarkError, match=r"two searches of seed 1: .*--first-seed"):
        measured(case, [*earlier["m/m/8"], search(1)])


def test_an_output_that_is_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "before.json"
    path.write_text("{}")
    assert main(["--also", str(path), "--case", "m/d/8"]) == 1
    assert f"--also {path}" in capsys.readouterr().err
