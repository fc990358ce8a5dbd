"""A search's result as evidence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.cli.main import main
from profiles.capacity.evidence import estimate
from profiles.capacity.goodput import measure_goodput
from profiles.capacity.search_evidence import look_found, read_found
from profiles.ledger.predictions import predict
from profiles.record.folder import RunError, RunFolder
from profiles.requests.slo import MixedError, SloError, TooLittleError, parse_slo
from tests.profiles.steady import full, steady, steady_run


def write_found(folder: Path, **changes: Any) -> Path:
    told: dict[str, Any] = {
        "schema_version": 1,
        "run_id": folder.name,
        "scenario": "steady",
        "verdict": "found",
        "valid": True,
        "reasons": [],
        "slo": "p(95) < 2s",
        "limit_s": 2.0,
        "allowed_share": 0.05,
        "precision": 0.03,
        "images_per_s": 8.0,
        "low_images_per_s": 7.6,
        "high_images_per_s": 8.4,
        "windows": [],
    }
    RunFolder(folder).find_path.write_text(json.dumps(told | changes))
    return folder


def seen(root: Path, name: str = "a", slo: str | None = None, **changes: Any) -> Any:
    run = steady(root, name)
    folder = write_found(root / name, **changes)
    found = read_found(folder)
    assert found is not None
    return look_found(found, run.manifest, 2, None if slo is None else parse_slo(slo))


def test_its_interval_is_its_own(tmp_path: Path) -> None:
    found = estimate([seen(tmp_path)])
    assert found.rate.value == pytest.approx(3.8)  # 95% of 8 images/s on 2 GPUs
    assert found.rate.log_sd == pytest.approx(np.log(8.4 / 7.6) / 2 / 1.96, rel=1e-4)
    assert (found.saturated, found.repeats) == (False, 1)
    assert "highest rate that met p(95) < 2s" in found.rate.source


def test_searches_repeat(tmp_path: Path) -> None:
    found = estimate([seen(tmp_path, str(i), images_per_s=8.0 + i / 10) for i in range(3)])
    assert found.rate.degrees == 2.0
    assert "3 searches" in found.rate.source


def test_a_search_and_a_run_are_no_repeats(tmp_path: Path) -> None:
    plain = measure_goodput(full(tmp_path, "run"), parse_slo("p(95) < 2s"), 2)
    with pytest.raises(MixedError, match="their kinds are search and run"):
        estimate([seen(tmp_path), plain])


@pytest.mark.parametrize(
    ("changes", "slo", "error", "words"),
    [
        ({}, "p(95) < 5s", SloError, "search again"),
        ({}, "p(99) < 2s", SloError, "search again"),
        ({"verdict": "unmet", "images_per_s": None}, None, SloError, "never met"),
        ({"verdict": "unknown", "images_per_s": None}, None, TooLittleError, "without an interval"),
        ({"verdict": "at least", "high_images_per_s": None}, None, TooLittleError, "at least"),
    ],
)
def test_what_bears_nothing(
    tmp_path: Path, changes: dict[str, Any], slo: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        seen(tmp_path, slo=slo, **changes)


def test_the_slo_it_searched_at_may_be_said(tmp_path: Path) -> None:
    assert seen(tmp_path, slo="p(95) < 2s").rate_per_gpu == pytest.approx(3.8)


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    RunFolder(tmp_path).find_path.write_text("{")
    with pytest.raises(RunError, match="damaged"):
        read_found(tmp_path)
    assert read_found(tmp_path / "elsewhere") is None


def test_the_command_takes_it_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_found(steady_run(tmp_path, "a").path)
    assert main(["capacity", str(folder), "--sweep"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("100,000 GPUs: 361,000 images/s")  # 3.8 x 0.95
    assert "Goodput against the SLO" not in out  # a search cannot be counted afresh
    assert main(["ledger", "--out", str(tmp_path)]) == 0
    assert "none was scored yet" in capsys.readouterr().out
    write_found(steady_run(tmp_path, "b", start_utc="2099-01-01T00:00:00Z").path)
    assert main(["ledger", "--out", str(tmp_path)]) == 0
    assert "7.6 images/s" in capsys.readouterr().out
    assert len(predict([seen(tmp_path, "c")], "2026-01-01T00:00:00Z")) == 4
