"""The benchmark itself, with real runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import Played, line, main, result
from benchmarks.chaos_draw import draw
from benchmarks.chaos_judge import Judged, Seen, Told
from tests.serve.conftest import ROOT

PATIENCE_S = 240.0
TOLD = Told(verdict="pass", reasons=[], outcomes={"ok": 600}, scheduled=600)


def played(index: int, judged: Judged) -> Played:
    seen = Seen(
        exit_code=0, took_s=20.0 + index, bound_s=90.0, hit=[], told=TOLD, again=TOLD, folder=True,
        schedule=600, recorded={"ok": 600}, left=[],
    )  # fmt: skip
    return Played(case=draw(1, index), seen=seen, judged=judged)


def test_every_class_is_counted_and_no_run_is_hidden() -> None:
    told = result(
        [
            played(0, Judged(is_as="as expected", faults=[])),
            played(1, Judged(is_as="late", faults=[])),
            played(2, Judged(is_as="not hit", faults=[])),
            played(3, Judged(is_as="fault", faults=["verdict pass, not one of ['invalid']"])),
        ]
    )
    counts = {name: told[name] for name in ("as_expected", "late", "not_hit", "faults")}
    assert counts == {"as_expected": 1, "late": 1, "not_hit": 1, "faults": 1}
    assert (told["runs"], told["scheduled"], told["longest_s"]) == (4, 2400, 23.0)
    assert told["faulty"] == [
        line(played(3, Judged(is_as="fault", faults=["verdict pass, not one of ['invalid']"])))
    ]
    assert [one["case"]["index"] for one in told["each"]] == [0, 1, 2, 3]
    json.dumps(told)


@pytest.mark.parametrize("words", [["--runs", "0"], ["--only", "-1"], ["--seed", "x"]])
def test_wrong_words_exit_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


def chaos(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.chaos", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends its servers and runs
            process.communicate()
            raise
    assert process.returncode == 0, err
    told: dict[str, Any] = json.loads(out.splitlines()[-1])["result"]
    return told


@pytest.mark.e2e
def test_a_killed_sampler_and_one_of_two_generators(tmp_path: Path) -> None:
    told = chaos("--seed", "0", "--only", "36", "--only", "42", "--out", str(tmp_path))
    assert (told["runs"], told["as_expected"]) == (2, 2)
    sampler, generator = told["each"]
    (hit,) = sampler["seen"]["hit"]
    assert "-m profiles.sampler" in hit["words"]
    assert sampler["seen"]["told"]["reasons"][0].startswith("The sampler died")
    (hit,) = generator["seen"]["hit"]
    assert "-m loadtest.system.own_locust" in hit["words"]
    assert "1 of 2 generator processes" in generator["seen"]["told"]["reasons"][0]
    assert sum(generator["seen"]["told"]["outcomes"].values()) == generator["seen"]["schedule"]


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("index", range(4))
def test_some_runs_of_a_seed(tmp_path: Path, index: int) -> None:
    told = chaos("--seed", "3", "--only", str(index), "--out", str(tmp_path))
    assert told["faults"] == 0
