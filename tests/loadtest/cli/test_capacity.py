"""`viralload capacity` and `viralload ledger`, in this process, on made-up runs."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.cli.ledger import note
from loadtest.cli.main import main
from profiles.ledger.ledger import FILE_NAME, read
from profiles.schema import EndReason, TargetInfo
from profiles.summary.run import summarize
from tests.profiles.steady import SD15, STUB, full_run, steady_run

Capsys = pytest.CaptureFixture[str]


def told(capsys: Capsys, *words: str) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys: Capsys, *words: str) -> Any:
    code, out, _ = told(capsys, "capacity", *words, "--json")
    assert code == 0
    return json.loads(out)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(full_run(tmp_path, "a").path)


def test_a_run_in_words(run: str, capsys: Capsys) -> None:
    code, out, err = told(capsys, "capacity", run, "--slo", "p(95) < 30s", "--price", "2.35")
    assert code == 0
    told_rate = re.match(r"100,000 GPUs: ([\d,]+) images/s, 95% between ", out)
    assert told_rate is not None
    # 5 images/s a GPU with 5% spare, and 30 s leave nearly all of it
    assert 0.97 * 475_000 < int(told_rate[1].replace(",", "")) < 1.01 * 475_000
    for words in (
        "! One run:",
        "! The layer before the cells was not measured",
        "! It is a block of such requests: 1 image of 512 × 512 a request;",
        "saturated rate per GPU ",
        "in which a queue",
        "the peak of steady, 833 images/s, needs 17",
        "bootstrap",
        "what moves it most",
        "GPUs for the peak of the nine days",
        "$2.35",
        "stated with --price",
        "[published]",
        "[assumed]",
        "ledger: No prediction",
    ):
        assert words in out, words
    assert "4 predictions written" in err
    assert "predictions written" not in told(capsys, "capacity", run, "--no-ledger")[2]
    assert max(map(len, out.splitlines())) <= 110


def test_energy_of_the_gpus_is_measured_where_it_was(run: str, capsys: Capsys) -> None:
    table = {line["what"]: line for line in as_json(capsys, run)["table"]}
    drawn = table["1,000 images draw in GPUs"]
    # 2 GPUs of 100 W and 10 images/s: 20 J an image
    assert (drawn["value"], drawn["stand"]) == (pytest.approx(20 / 3600, rel=0.02), "measured")


def test_half_a_block_is_half_as_much(run: str, capsys: Capsys) -> None:
    whole = as_json(capsys, run)["capacity"]
    half = as_json(capsys, run, "--blocks", "0.5")["capacity"]
    assert half["block_gpus"] == 50_000
    assert half["block_images_per_s"] == pytest.approx(whole["block_images_per_s"] / 2)
    assert half["gpus_for_peak"] == whole["gpus_for_peak"]
    assert half["blocks_for_peak"] == pytest.approx(whole["blocks_for_peak"])  # of 100,000 GPUs


@pytest.mark.parametrize(
    ("option", "factor"),
    [(["--spare", "0.2"], 0.8 / 0.95), (["--routing", "random"], 1.0)],
)
def test_what_if(run: str, capsys: Capsys, option: list[str], factor: float) -> None:
    plain = as_json(capsys, run)["capacity"]["block_images_per_s"]
    other = as_json(capsys, run, *option)["capacity"]["block_images_per_s"]
    assert other == pytest.approx(factor * plain)


def test_better_routing_makes_more_of_gpus_at_their_limit(tmp_path: Path, capsys: Capsys) -> None:
    run = str(full_run(tmp_path, "full").path)
    made = [
        as_json(capsys, run, "--slo", "p(95) < 0.5s", "--routing", kind)["capacity"][
            "block_images_per_s"
        ]
        for kind in ("random", "round-robin", "two", "central")
    ]
    assert all(made[0] < between < made[3] for between in made[1:3])


def test_where_no_queue_stood_it_is_withheld_and_find_is_named(
    tmp_path: Path, capsys: Capsys
) -> None:
    run = str(steady_run(tmp_path, "spare").path)
    code, out, err = told(capsys, "capacity", run)
    assert (code, out) == (2, "")
    assert "no queue stood in any window of spare" in err
    assert "`viralload find`" in err
    assert not (tmp_path / FILE_NAME).exists()
    cpu = str(steady_run(tmp_path, "cpu", target=STUB, gpus=[]).path)
    assert "a stub" in told(capsys, "capacity", cpu)[2]  # which no queue would mend


def test_a_tighter_slo_leaves_less_of_the_same_rate(tmp_path: Path, capsys: Capsys) -> None:
    run = str(full_run(tmp_path, "a").path)
    loose, tight = (
        as_json(capsys, run, "--slo", slo)["capacity"] for slo in ("p(95) < 10s", "p(95) < 0.5s")
    )
    assert tight["images_per_s_per_gpu"] == loose["images_per_s_per_gpu"]
    assert tight["block_images_per_s"] < 0.9 * loose["block_images_per_s"]


def test_the_sweep_is_drawn(run: str, tmp_path: Path, capsys: Capsys) -> None:
    page = tmp_path / "page.html"
    code, out, _ = told(capsys, "capacity", run, "--sweep", "--html", str(page))
    assert code == 0
    assert "Goodput against block size" in out
    assert re.search(r"1\.25 s +[\d,]+", out)
    assert "never met" not in out  # 10 s / 8 = 1.25 s, and an answer takes 0.1 s
    html = page.read_text()
    assert html.count("<svg") == 2 * 3  # each in three widths
    assert 'class="tornado"' in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_a_sweep_says_what_it_cannot_show(run: str, capsys: Capsys) -> None:
    _, ours, _ = told(capsys, "capacity", run, "--sweep")
    _, theirs, _ = told(capsys, "capacity", "--published", "sdxl-h200", "--sweep")
    _, without, _ = told(capsys, "capacity", "--published", "sdxl-h200")
    for out in (ours, theirs):
        assert "straight because cells are taken to stand side by side" in " ".join(out.split())
    assert "There is no goodput against the SLO" in theirs
    assert "There is no goodput against the SLO" not in ours
    assert "goodput against" not in without.lower()


def test_a_sweep_says_where_the_slo_was_never_met(tmp_path: Path, capsys: Capsys) -> None:
    run = str(full_run(tmp_path, "a", images_per_s=0.5, duration_s=120.0).path)  # 2 s each
    _, out, _ = told(capsys, "capacity", run, "--sweep")
    assert "never met" in out


def test_repeats_make_one_estimate(tmp_path: Path, capsys: Capsys) -> None:
    runs = [
        str(
            full_run(
                tmp_path,
                f"r{seed}",
                seed=seed,
                images_per_s=10.0 + seed / 10,
                load={"peak_images_per_s": 10.0},
            ).path
        )
        for seed in range(4)
    ]
    found = as_json(capsys, *runs)["capacity"]
    assert "4 runs of steady while saturated" in found["factors"][0]["source"]
    assert "the next repeat" not in [one["name"] for one in found["factors"]]


def test_the_shared_layer_stands_beside_it(run: str, tmp_path: Path, capsys: Capsys) -> None:
    stub = str(full_run(tmp_path, "s", target=STUB, gpus=[], images_per_s=90.0).path)
    notes = as_json(capsys, run, "--ceiling", stub)["notes"]
    assert re.search(r"carry 9\d(\.\d)? images/s without a model", notes[0])
    assert "holds a cell up" not in notes[0]
    slow = str(full_run(tmp_path, "t", target=STUB, gpus=[], images_per_s=5.0).path)
    assert "holds a cell up" in as_json(capsys, run, "--ceiling", slow)["notes"][0]
    assert "It was asked for" not in notes[0]
    large = full_run(
        tmp_path, "u", target=STUB, gpus=[], images_per_s=90.0, asked={"width": 64, "height": 64}
    )
    (note, *_) = as_json(capsys, run, "--ceiling", str(large.path))["notes"]
    assert "asked for 1 image of 64 × 64 a request, the runs for 1 image of 512 × 512" in note
    code, _, err = told(capsys, "capacity", run, "--ceiling", run)
    assert (code, "give a run of stub" in err) == (2, True)


def test_published_rates_need_no_run(capsys: Capsys) -> None:
    found = as_json(capsys, "--published", "sdxl-h200")
    assert found["capacity"]["factors"][0]["stand"] == "published"
    stands = {line["what"]: line["stand"] for line in found["table"]}
    assert "1,000 images draw in GPUs" not in stands
    sd35 = as_json(capsys, "--published", "sd35-medium-h100")["table"]
    (drawn,) = (line["value"] for line in sd35 if line["what"] == "1,000 images draw in GPUs")
    assert drawn == pytest.approx(1000 * 1600 / 3.6e6)
    assert stands["GPU-hours of the nine days"] == "assumed"  # spare and site are


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--price", "-1"], 2, "--price: a GPU-hour costs more than $0"),
        (["--slo", "p(95) < 0.05s"], 2, "never met p(95) < 0.05s"),
        (["--slo", "p(95) > 5s"], 2, "--slo"),
        (["--cell", "5000"], 2, "2,500 times the 2 that were tested"),
        (["--blocks", "1e308"], 2, "--blocks: at most 10,000"),
        (["--blocks", "1e-9"], 2, "0 GPUs, fewer than a cell of 2; give at least 2e-05"),
        (["--seller", "Acme"], 2, "no offer of 'Acme' is known"),
        (["--prices", "/nowhere.toml"], 2, "/nowhere.toml"),
        (["--published", "sdxl-h200"], 2, "either runs or --published"),
        (["/nowhere"], 2, "no run folder"),
    ],
)
def test_what_cannot_be_asked(
    run: str, capsys: Capsys, words: list[str], code: int, said: str
) -> None:
    got, out, err = told(capsys, "capacity", run, *words)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_nothing_named_lists_what_there_is(capsys: Capsys) -> None:
    code, _, err = told(capsys, "capacity")
    assert code == 2
    assert "name a run folder" in err
    assert "sdxl-h200" in err


def _target(**changes: Any) -> TargetInfo:
    return msgspec.structs.replace(SD15, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": STUB, "gpus": []}, "stub"),
        ({"gpus": []}, "a CPU says nothing"),
        ({"target": _target(model="tiny")}, "tiny is a toy"),
        ({"end_reason": EndReason.SERVER_DIED}, "INVALID"),
        ({"end_reason": EndReason.INTERRUPTED}, "stopped before its end"),
    ],
)
def test_evidence_that_bears_no_block(
    tmp_path: Path, capsys: Capsys, changes: dict[str, Any], said: str
) -> None:
    run = str(full_run(tmp_path, "a", **changes).path)
    code, out, err = told(capsys, "capacity", run)
    assert (code, out) == (1, "")
    assert "no block figure" in err
    assert said in err
    assert "predictions" not in err
    assert not (tmp_path / FILE_NAME).exists()  # what is refused predicts nothing


@pytest.mark.parametrize("words", [["--blocks", "1e9"], ["--ceiling", "{run}"]])
def test_a_question_that_is_refused_writes_nothing(
    tmp_path: Path, run: str, capsys: Capsys, words: list[str]
) -> None:
    code, out, _ = told(capsys, "capacity", run, *(word.format(run=run) for word in words))
    assert (code, out) == (2, "")
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("option", ["--ledger", "--html"])
def test_a_figure_is_shown_where_it_cannot_be_written(
    run: str, capsys: Capsys, option: str
) -> None:
    code, out, err = told(capsys, "capacity", run, option, "/proc/no/such/file")
    assert code == 0
    assert re.match(r"100,000 GPUs: [\d,]+ images/s, 95% between ", out)
    assert "warning: " in err
    assert "/proc/no/such/file" in err


def test_mixed_runs_are_named(tmp_path: Path, capsys: Capsys) -> None:
    one = str(full_run(tmp_path, "one").path)
    two = str(full_run(tmp_path, "two", target=_target(model="sdxl")).path)
    code, _, err = told(capsys, "capacity", one, two)
    assert code == 2
    assert "one and two cannot be one estimate: their models are sd15 and sdxl" in err


def test_the_ledger_is_written_scored_and_printed(tmp_path: Path, capsys: Capsys) -> None:
    one = str(full_run(tmp_path, "one").path)
    assert told(capsys, "capacity", one)[0] == 0
    assert len(read(tmp_path / FILE_NAME).predictions) == 4
    # asked again, it predicts the same: written once, or repeating a question would raise the score
    assert "0 predictions written" in told(capsys, "capacity", one)[2]
    assert "0 predictions written" in told(capsys, "capacity", one, "--slo", "p(95)<10000ms")[2]
    assert len(read(tmp_path / FILE_NAME).predictions) == 4
    full_run(tmp_path, "two", start_utc="2099-01-01T00:00:00Z", seed=1)
    code, out, _ = told(capsys, "ledger", "--out", str(tmp_path))
    assert code == 0
    assert "✓ scored steady, sd15, 2 × NVIDIA H200: 10 images/s" in out
    assert out.count("  open") == 3
    assert "Of 4 predictions, 1 were scored" in told(capsys, "capacity", one)[1]
    code, out, _ = told(capsys, "ledger", "--out", str(tmp_path), "--json")
    assert json.loads(out)["record"]["scored"] == 1


def test_a_ledger_without_predictions_says_so(tmp_path: Path, capsys: Capsys) -> None:
    code, out, _ = told(capsys, "ledger", "--out", str(tmp_path))
    assert (code, "this model" in out) == (0, False)
    assert "No prediction is written down there" in out
    code, out, err = told(capsys, "ledger", "--ledger", str(tmp_path / "none.jsonl"))
    assert (code, out) == (2, "")
    assert "--ledger: there is no " in err


def test_a_run_with_a_block_figure_predicts_and_one_without_does_not(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("gpu", {}, 4),
        ("cpu", {"target": STUB, "gpus": []}, 0),
    ]
    for name, changes, written in cases:
        folder = full_run(tmp_path / name, "a", **changes)
        note(folder, summarize(folder))
        assert len(read(tmp_path / name / FILE_NAME).predictions) == written


def test_a_ledger_that_cannot_be_written_is_a_warning_after_a_run(
    tmp_path: Path, capsys: Capsys
) -> None:
    folder = full_run(tmp_path, "a")
    (tmp_path / FILE_NAME).mkdir()
    note(folder, summarize(folder))
    assert "warning: nothing was written to the ledger" in capsys.readouterr().err


def test_the_report_prints_the_score_beside_the_figure(tmp_path: Path, capsys: Capsys) -> None:
    folder = full_run(tmp_path, "a")
    note(folder, summarize(folder))
    full_run(tmp_path, "b", start_utc="2099-01-01T00:00:00Z", seed=1)
    assert told(capsys, "report", str(folder.path))[0] == 0
    assert "Ledger: Of 4 predictions, 1 were scored" in folder.report_path.read_text()


def test_a_ledger_elsewhere_is_scored_by_the_runs_where_they_are(
    tmp_path: Path, capsys: Capsys
) -> None:
    one = str(full_run(tmp_path / "runs", "one").path)
    book = str(tmp_path / "books" / "mine.jsonl")
    assert told(capsys, "capacity", one, "--ledger", book)[0] == 0
    full_run(tmp_path / "runs", "two", start_utc="2099-01-01T00:00:00Z", seed=1)
    assert "Of 4 predictions, 1 were" in " ".join(
        told(capsys, "capacity", one, "--ledger", book)[1].split()
    )
    code, out, _ = told(capsys, "ledger", "--ledger", book, "--out", str(tmp_path / "runs"))
    assert (code, out.count("✓ scored")) == (0, 1)
