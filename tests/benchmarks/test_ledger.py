"""Predictions come before the runs that score them, through the commands a user has."""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from benchmarks import ledger
from benchmarks.ledger import FailedError, measure
from loadtest.cli.main import main
from profiles.schema import TargetInfo
from tests.profiles.steady import STUB, full_run


def asked(out: Path, *servers: int) -> argparse.Namespace:
    return argparse.Namespace(
        out=out, model="stub", set=["max_batch=4"], servers=list(servers), repeats=2, peak="1.3x"
    )


class Made:
    """Runs made up at 10 images/s a replica, in years after what was predicted of them."""

    def __init__(self, out: Path) -> None:
        self.out, self.spoken = out, list[str]()

    def __call__(self, words: Sequence[str]) -> int:
        self.spoken.append(words[0])
        if words[0] != "run":
            return main(list(words))
        told = dict(zip(words[2::2], words[3::2], strict=True))
        sets = [value for name, value in pairwise(words) if name == "--set"]
        replicas = int(sets[0].removeprefix("replicas="))
        assert sets[1:] == ["max_batch=4"]
        target: TargetInfo = msgspec.structs.replace(
            STUB, replicas=replicas, settings={"model": "stub", "replicas": replicas}
        )
        runs = self.spoken.count("run")
        full_run(
            self.out, f"{runs}-steady-{told['--label']}", target=target, gpus=[], seed=runs,
            images_per_s=10.0 * replicas, start_utc=f"21{runs:02}-01-01T00:00:00Z",
        )  # fmt: skip
        return 99


def test_each_size_scores_what_was_predicted_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(tmp_path)
    measure(asked(tmp_path, 1, 2, 4, 8), made)
    assert made.spoken == ["run"] * 5 + ["ledger"]
    out = capsys.readouterr().out
    told = json.loads(out[out.index("{") :])
    made_first = [one["prediction"]["made_utc"] for one in told["scores"]]
    assert max(made_first) < "2101-01-01"  # before the runs, which are of later years
    assert told["record"]["predictions"] == 8
    sizes = {one["prediction"]["servers"] for one in told["scores"]}
    assert sizes == {1, 2, 4, 8}
    assert told["record"]["doubling_runs"] == 3


def test_a_run_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match=r"viralload run steady --model stub .* ended with 3"):
        measure(asked(tmp_path, 1, 2), lambda _words: 3)


def test_a_folder_with_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        ledger.main(["--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "holds runs already" in capsys.readouterr().err
