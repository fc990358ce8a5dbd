import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.errors import TraceError
from loadtest.scenario.scenario import TraceFile
from loadtest.traces.text import trace_lines
from loadtest.traces.trace import Arrivals, read_trace
from loadtest.traffic.curve import Bins, total
from loadtest.units import Duration as D


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def read(path: Path, **options: Any) -> Arrivals | Bins:
    return read_trace(path, TraceFile(file=path.name, **options))


def test_arrivals_are_shifted_to_start_at_0(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "t_s,tokens\n5,1\n6,2\n6,3\n9.5,4\n"))
    assert isinstance(trace, Arrivals)
    assert trace.times_s.tolist() == [0.0, 1.0, 1.0, 4.5]
    assert trace.duration_s == 6.0  # 4.5 s and the mean gap of 1.5 s


def test_evenly_spaced_rows_are_bins_of_counts(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "t_s,requests\n0,120\n60,60\n120,0\n"))
    assert isinstance(trace, Bins)
    assert trace.rates_per_s == (2.0, 1.0, 0.0)
    assert trace.duration_s == 180.0
    assert total(trace) == 180.0


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, (3.0, 4.0, 5.0)),  # rps is known to be a rate
        ({"rate_column": "x"}, (10.0, 20.0, 30.0)),
        ({"count_column": "x"}, (1.0, 2.0, 3.0)),  # 10, 20, 30 in 10 s each
    ],
)
def test_columns_are_guessed_or_named(
    tmp_path: Path, options: dict[str, str], rates: tuple[float, ...]
) -> None:
    path = written(tmp_path, "t_s,rps,x\n0,3,10\n10,4,20\n20,5,30\n")
    trace = read(path, **options)
    assert isinstance(trace, Bins)
    assert trace.rates_per_s == rates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\n", "is empty"),
        ("", "is empty"),
        ("t_s\n", "holds 0 rows"),
        ("t_s\n1\n", "holds 1 rows"),
        ("0,1\n1,2\n2,3\n", "row 1 holds numbers where the column names belong"),
        ("t_s,n\n0,1\n5,1\n3,1\n", "row 4, column 't_s': 3 comes after 5. Sort the rows"),
        ("t_s\n0\n\ninf\n2\n", "row 3, column 't_s': 'inf' is no number"),
        (
            "t_s,steps\n0,20\n1,0\n4,9\n",
            "row 3, column 'steps': 0 is no whole number from 1 to 1,0",
        ),
        ("t_s,images\n0,1\n1,2.5\n4,1\n", "row 3, column 'images': 2.5 is no whole number"),
        (
            "t_s,images\n0,1\n1,11\n4,1\n",
            "row 3, column 'images': 11 is no whole number from 1 to 10",
        ),
        ("t_s,size\n0,8x8\n1,8x8\n4,big\n", "row 4, column 'size': size: expected"),
        ("t_s,user\n0,a\n1,\n4,b\n", "row 3, column 'user': nothing is no word"),
        ("t_s\n0\nsoon\n2\n", "row 3, column 't_s': 'soon' is no number"),
        ("t_s\n0\nnan\n2\n", "row 3, column 't_s': 'nan' is no number"),
        ("t_s\n0\n-1\n2\n", "row 3, column 't_s': '-1' is no number of at least 0"),
        ("t_s,n\n0,1\n10\n20,1\n", "row 3, column 'n': nothing is no number"),
        ("t_s,n\n0,1\n10,-4\n20,1\n", "row 3, column 'n': '-4' is no number of at least 0"),
        ("t_s,n\n0,0\n10,0\n20,0\n", "column 'n' is 0 in every row"),
        ("t_s\n7\n7\n", "all 2 rows have the same time"),
        ("t_s\n7\n1e200\n", "row 3, column 't_s': 1e+200 is too far away; see time_scale"),
        ("t_s,a,b\n0,1,1\n10,1,1\n20,1,1\n", "Name it with rate_column or count_column (a, b)"),
    ],
)
def test_what_cannot_be_replayed_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(written(tmp_path, text))
    assert said in str(caught.value)
    assert "trace.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


BINNED = "t_s,rps,n,steps\n0,1,2,20\n10,1,2,20\n30,1,2,20\n"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (BINNED, {"rate_column": "rps", "count_column": "n"}, "not both"),
        (BINNED, {"rate_column": "rps", "steps_column": "nope"}, "no column 'nope'"),
        (BINNED, {"rate_column": "rps", "steps_column": "steps"}, "steps_column is of rows that"),
        (BINNED, {"count_column": "n", "jitter": D(1)}, "jitter is of rows that are arrivals"),
        (BINNED.replace("30", "10"), {"count_column": "n"}, "row 4, column 't_s': two bins start"),
        (BINNED, {"rate_column": "rps", "rate_scale": 1e13}, "column 'rps': rates_per_s: expected"),
        ("t_s\n0\n2\n5\n", {"rate_scale": 1e13}, "makes more than 20,000,000 arrivals of 3 rows"),
        ("t_s\n0\n2\n5\n", {"rate_scale": 1e-9}, "leaves fewer than two arrivals"),
    ],
)
def test_what_cannot_be_made_of_a_trace_is_said(
    tmp_path: Path, text: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read(written(tmp_path, text), **options)
    assert said in str(caught.value)


def test_a_missing_column_proposes_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no column 'request' \(did you mean \"requests\"\?\)"):
        read(written(tmp_path, "t_s,requests\n0,1\n9,1\n"), count_column="request")


def test_a_trace_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    with pytest.raises(TraceError, match="it is not CSV text"):
        read(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("name", "options", "kind", "count", "mean_per_s"),
    [
        ("azure_llm_2023_conv.csv", {}, Arrivals, 19_366, 5.53),
        ("wc98_1998-06-30_minute.csv", {}, Bins, 2160, None),
        # "tweets" may be anything
        ("nab_tweets_AAPL_5min.csv", {"count_column": "tweets"}, Bins, 15_902, None),
        ("servegen_rate_language_m-mid_10min.csv", {}, Bins, 2016, None),
    ],
)
def test_real_traces_are_read(
    traces: Path,
    name: str,
    options: dict[str, str],
    kind: type[Arrivals | Bins],
    count: int,
    mean_per_s: float | None,
) -> None:
    trace = read(traces / name, **options)
    assert isinstance(trace, kind)
    size = trace.times_s.size if isinstance(trace, Arrivals) else len(trace.rates_per_s)
    assert size == count
    if isinstance(trace, Arrivals):
        assert size / trace.duration_s == pytest.approx(mean_per_s, rel=0.01)
        gaps = np.diff(trace.times_s)
        assert gaps.std() / gaps.mean() == pytest.approx(1.09, abs=0.01)  # as published with it


ROWS = [
    {"ts": 1000, "who": "ann", "steps": 20, "images": 1, "size": "512x512", "length": 40},
    {"ts": 1500, "who": "bob", "steps": 30, "images": 4, "size": "768x512", "length": 90},
    {"ts": 4000, "who": "ann", "steps": 20, "images": 2, "size": "512x512", "length": 10},
]
NAMES = {
    "time_column": "ts", "time_scale": 0.001, "user_column": "who", "prompt_chars_column": "length",
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_tell_what_was_asked_for_in_either_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"trace.{suffix}"
    if suffix == "csv":
        lines = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
    else:
        lines = [json.dumps(row) for row in ROWS]
    path.write_text("\n".join(lines) + "\n")
    trace = read(path, **NAMES)
    assert isinstance(trace, Arrivals)
    assert trace.times_s.tolist() == [0.0, 0.5, 3.0]  # milliseconds
    told = {name: values.tolist() for name, values in trace.asks.items()}
    assert told == {
        "steps": [20, 30, 20], "images": [1, 4, 2], "prompt_chars": [40, 90, 10],
        "width": [512, 768, 512], "height": [512, 512, 512], "user": [1, 2, 1],
    }  # fmt: skip
    said = "\n".join(trace_lines(trace))
    assert "images 1-4 (mean 2.33), steps 20-30" in said
    assert "2 sizes, 2 users" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("5\n6\n", "row 1 is no JSON object"),
        ('{"t_s": 1}\n', "holds 1 rows"),
        ('{"t_s": 1}\nnonsense\n{"t_s": 3}\n', "row 2 is no JSON object"),
        ('{"t_s": 1}\n{"t_s": 2},{"t_s": 3}\n', "row 2 is no JSON object"),
        ('{"t_s": 1\n"b": 2}\n{"t_s": 3}\n', "row 1 is no JSON object"),
        ('{"t_s": 1}\n{"t": 2}\n{"t_s": 3}\n', "row 2, column 't_s': nothing is no number"),
        ('{"t_s": 1}\n{"t_s": null}\n', "row 2, column 't_s': nothing is no number"),
        ('{"t_s": 1}\n{"t_s": [2]}\n', "row 2, column 't_s': [2] is no number"),
        ('{"t_s": 1}\n{"t_s": -2}\n', "row 2, column 't_s': -2 is no number of at least 0"),
        ("{}\n{}\n{}\n", "row 1 is empty"),
        ('{"t_s": 1}\n{"a": NaN, "t_s": NaN}\n', "row 2, column 't_s': nan is no number"),
        ('{"t_s": Infinity}\n{"t_s": 2}\n', "row 1, column 't_s': inf is no number"),
        ('{"t_s": 1, "a": 2}\n{"t_s": 2, "a": NaN}\n', "row 2, column 'a': nan is no number"),
        ('{"t_s": 3}\n{"t_s": 2}\n', "row 2, column 't_s': 2 comes after 3. Sort the rows"),
    ],
)
def test_what_a_jsonl_trace_cannot_hold_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_are_sorted_where_that_is_asked_for(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "t_s,steps\n5,1\n3,2\n9,3\n3,4\n"), sort=True)
    assert isinstance(trace, Arrivals)
    assert trace.times_s.tolist() == [0.0, 0.0, 2.0, 6.0]
    assert trace.asks["steps"].tolist() == [2, 4, 1, 3]
    bins = read(written(tmp_path, "t_s,n\n20,3\n0,1\n10,2\n"), sort=True)
    assert isinstance(bins, Bins)
    assert bins.rates_per_s == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_rate_is_scaled_and_rows_keep_what_they_asked(tmp_path: Path, scale: float) -> None:
    times = np.cumsum(np.random.default_rng(1).integers(1, 9, 5000))
    rows = "\n".join(f"{t},{t % 1000 + 1}" for t in times)  # each row asks for what its time says
    trace = read(written(tmp_path, f"t_s,steps\n{rows}\n"), rate_scale=scale)
    assert isinstance(trace, Arrivals)
    assert trace.times_s.size == pytest.approx(5000 * scale, abs=5 * np.sqrt(5000 * 0.25))
    steps = trace.asks["steps"].astype(int)
    if scale <= 1:  # thinned, and shifted to the first that is left
        assert np.array_equal((steps - steps[0]) % 1000, trace.times_s % 1000)
    else:
        assert np.array_equal(np.bincount(steps), 3 * np.bincount(times % 1000 + 1))
    bins = read(written(tmp_path, "t_s,rps\n0,1\n10,2\n20,3\n"), rate_scale=scale)
    assert isinstance(bins, Bins)
    assert bins.rates_per_s == (scale, 2 * scale, 3 * scale)


def test_scaling_the_time_keeps_the_number_of_arrivals(tmp_path: Path) -> None:
    counts = read(written(tmp_path, "t_s,n\n0,10\n10,20\n20,30\n"), time_scale=0.5)
    assert isinstance(counts, Bins)
    assert counts.duration_s == 15.0
    assert total(counts) == 60.0
    # requests a second are requests a second, whatever unit the time column has
    rates = read(written(tmp_path, "t_s,rps\n0,1\n10,2\n20,3\n"), time_scale=0.5)
    assert isinstance(rates, Bins)
    assert rates.rates_per_s == (1.0, 2.0, 3.0)
    assert total(rates) == 30.0


def test_jitter_spreads_batches_and_keeps_rows_together(tmp_path: Path) -> None:
    # 400 batches of 10 at once, 3 s apart
    rows = "\n".join(f"{3 * batch},{batch % 999 + 1}" for batch in range(400) for _ in range(10))
    path = written(tmp_path, f"t_s,steps\n{rows}\n")
    batched = read(path)
    assert isinstance(batched, Arrivals)
    assert batched.batched_share == pytest.approx(0.9, abs=0.001)
    assert "share the stamp of the one before; --jitter" in "\n".join(trace_lines(batched))
    spread = read(path, jitter=D(3))
    assert isinstance(spread, Arrivals)
    assert spread.batched_share == 0.0
    assert np.all(np.diff(spread.times_s) >= 0)
    assert np.all(np.diff(spread.asks["steps"].astype(int)) >= 0)  # batches do not overlap
    assert np.array_equal(spread.times_s, read(path, jitter=D(3)).times_s)  # type: ignore[union-attr]
    # uniform in each second: 4,000 / 1,200 a second, within five Poisson deviations overall
    thirds = np.histogram(spread.times_s % 3, bins=3, range=(0, 3))[0]
    assert thirds == pytest.approx([1333, 1333, 1333], abs=5 * np.sqrt(4000 * 2 / 9))


@pytest.mark.slow
def test_a_million_rows_in_seconds_and_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("t_s,steps,images,size,prompt_chars,user\n")
        for k in range(1_000_000):
            due_s = k * 0.01 + k % 7 * 0.001
            file.write(f"{due_s:.3f},{20 + k % 9},1,512x512,{1 + k % 300},{k % 5000}\n")
    code = (
        "import resource, sys, time\n"
        "from loadtest.cli.main import main\n"
        "code = main(['plan', sys.argv[1]])\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(code, time.process_time(), peak / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "1,000,000 rows" in done.stdout
    returned, cpu_s, peak_mib = done.stdout.splitlines()[-1].split()
    assert returned == "0"
    assert float(cpu_s) < 60  # 17 s on a slow core
    assert float(peak_mib) < 600  # 334


def test_rows_are_streamed(tmp_path: Path) -> None:
    # columns that are not asked for are not kept: 8 bytes a row and the chunk being read
    path = tmp_path / "long.jsonl"
    count = 200_000
    with path.open("w") as file:
        file.writelines(f'{{"t_s": {k * k * 1e-6}, "text": "{"x" * 200}"}}\n' for k in range(count))
    tracemalloc.start()
    try:
        trace = read(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(trace, Arrivals)
    assert trace.times_s.size == count
    assert peak_bytes < 8 * 8 * count + 8_000_000 < path.stat().st_size


def test_the_lines_of_a_trace(traces: Path) -> None:
    chat = "\n".join(trace_lines(read(traces / "azure_llm_2023_conv.csv")))
    assert "19,366 rows over 58.4 min: 5.53/s, peak/mean 1.53" in chat
    assert "gap CV 1.09, index of dispersion 1.39 at 1 s, 16.4 at 1 min" in chat
    match = "\n".join(trace_lines(read(traces / "wc98_1998-06-30_minute.csv")))
    assert "2,160 rows, bins of 1 min, over 36 h: 675/s, peak/mean 5.32" in match


def test_a_scaled_trace_does_not_pass_its_arrivals_off_as_rows(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "t_s\n0\n1\n3\n"), rate_scale=2.0)
    assert trace_lines(trace, 2.0)[0].startswith("6 arrivals, 2 x the rows, over")
