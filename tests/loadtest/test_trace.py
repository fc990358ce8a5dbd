from pathlib import Path

import numpy as np
import pytest

from loadtest.curve import Bins, total
from loadtest.errors import TraceError
from loadtest.trace import Arrivals, read_csv


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_arrivals_are_shifted_to_start_at_0(tmp_path: Path) -> None:
    trace = read_csv(written(tmp_path, "t_s,tokens\n5,1\n6,2\n6,3\n9.5,4\n"))
    assert isinstance(trace, Arrivals)
    assert trace.times_s.tolist() == [0.0, 1.0, 1.0, 4.5]
    assert trace.duration_s == 6.0  # 4.5 s and the mean gap of 1.5 s


def test_evenly_spaced_rows_are_bins_of_counts(tmp_path: Path) -> None:
    trace = read_csv(written(tmp_path, "t_s,requests\n0,120\n60,60\n120,0\n"))
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
    trace = read_csv(path, **options)
    assert isinstance(trace, Bins)
    assert trace.rates_per_s == rates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("t_s\n", "holds 0 rows"),
        ("t_s\n1\n", "holds 1 rows"),
        ("0,1\n1,2\n2,3\n", "row 1 holds numbers where the column names belong"),
        ("t_s,n\n0,1\n5,1\n3,1\n", "row 4, column 't_s': 3 comes after 5. Sort the rows"),
        ("t_s\n0\nsoon\n2\n", "row 3, column 't_s': 'soon' is no number"),
        ("t_s\n0\nnan\n2\n", "row 3, column 't_s': 'nan' is no number"),
        ("t_s\n0\n-1\n2\n", "row 3, column 't_s': '-1' is no number of at least 0"),
        ("t_s,n\n0,1\n10\n20,1\n", "row 3, column 'n': 'nothing' is no number"),
        ("t_s,n\n0,1\n10,-4\n20,1\n", "row 3, column 'n': '-4' is no number of at least 0"),
        ("t_s,n\n0,0\n10,0\n20,0\n", "column 'n' is 0 in every row"),
        ("t_s\n7\n7\n", "all 2 rows have the same time"),
        ("t_s,a,b\n0,1,1\n10,1,1\n20,1,1\n", "Name it with rate_column or count_column (a, b)"),
    ],
)
def test_what_cannot_be_replayed_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_csv(written(tmp_path, text))
    assert said in str(caught.value)
    assert "trace.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_proposes_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no column 'request' \(did you mean \"requests\"\?\)"):
        read_csv(written(tmp_path, "t_s,requests\n0,1\n9,1\n"), count_column="request")


def test_a_trace_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_csv(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    with pytest.raises(TraceError, match="it is not CSV text"):
        read_csv(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("name", "kind", "count", "mean_per_s"),
    [
        ("azure_llm_2023_conv.csv", Arrivals, 19_366, 5.53),
        ("wc98_1998-06-30_minute.csv", Bins, 2160, None),
        ("nab_tweets_AAPL_5min.csv", Bins, 15_902, None),
        ("servegen_rate_language_m-mid_10min.csv", Bins, 2016, None),
    ],
)
def test_real_traces_are_read(
    traces: Path, name: str, kind: type[Arrivals | Bins], count: int, mean_per_s: float | None
) -> None:
    trace = read_csv(traces / name)
    assert isinstance(trace, kind)
    size = trace.times_s.size if isinstance(trace, Arrivals) else len(trace.rates_per_s)
    assert size == count
    if isinstance(trace, Arrivals):
        assert size / trace.duration_s == pytest.approx(mean_per_s, rel=0.01)
        gaps = np.diff(trace.times_s)
        assert gaps.std() / gaps.mean() == pytest.approx(1.09, abs=0.01)  # as published with it
