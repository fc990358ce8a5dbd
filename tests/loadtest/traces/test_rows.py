"""Rows or bins: what is certain is said, what is not is refused with both ways out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.errors import TraceError
from loadtest.scenario.scenario import TraceFile
from loadtest.traces.columns import counts, rate_unit_s, time_column
from loadtest.traces.rows import grid_of
from loadtest.traces.trace import Reading, read
from loadtest.traffic.curve import Bins, total
from loadtest.traffic.recorded import Arrivals


def reading(folder: Path, text: str, **options: Any) -> Reading:
    path = folder / "trace.csv"
    path.write_text(text)
    return read(path, TraceFile(file=path.name, **options))


def rows(header: str, *values: Any) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in values)]) + "\n"


# a text, its rates (requests/s of each bin), what is said
BINS = [
    # a minute without a row: 0 in its place
    (
        rows("minute,count", (0, 12), (60, 18), (180, 30)),
        (0.2, 0.3, 0.0, 0.5),
        "bin of 1 min, and 'count' counts its requests; 1 of 4 bins have no row and are taken as 0",
    ),
    # minutes counted, not the seconds at which they begin: 60 s each
    (rows("minute,count", (0, 60), (1, 120), (2, 6)), (1.0, 2.0, 0.1), "minutes, by its name"),
    (rows("hour,hits", (7, 3600), (8, 7200)), (1.0, 2.0), "hours, by its name"),
    # a rate is a rate whatever the time counts in
    (rows("minute,rps", (0, 3), (1, 4), (2, 5)), (3.0, 4.0, 5.0), "'rps' is requests a second"),
    (rows("t_s,requests_per_minute", (0, 60), (60, 30)), (1.0, 0.5), "requests a minute"),
    # epoch milliseconds: their rounding breaks no grid
    (
        rows("timestamp,count", *((1764500000100 + 100 * k, k + 1) for k in range(4))),
        (10.0, 20.0, 30.0, 40.0),
        "milliseconds since 1970",
    ),
    # a scraper's clock: 15 s give or take some milliseconds
    (
        rows("time,requests", (0.003, 15), (15.001, 30), (30.004, 15), (44.998, 30)),
        (1.0, 2.0, 1.0, 2.0),
        "each is a bin of 15 s",
    ),
    # one row a minute and model: added up
    (
        rows("t_s,model,n", (0, "a", 6), (0, "b", 6), (60, "a", 30)),
        (0.2, 0.5),
        "rows of one time (model) are added up",
    ),
    (rows("t_s,num_calls,avg_latency", (0, 5, 1.5), (10, 10, 2.5)), (0.5, 1.0), "left out: 'avg"),
    # dates of days
    (rows("date,visits", ("2026-03-01", 86400), ("2026-03-02", 172800)), (1.0, 2.0), "1 days"),
]


@pytest.mark.parametrize(("text", "rates", "said"), BINS)
def test_what_counts_on_a_grid_is_bins(
    tmp_path: Path, text: str, rates: tuple[float, ...], said: str
) -> None:
    found = reading(tmp_path, text)
    assert isinstance(found.shape, Bins)
    assert found.shape.rates_per_s == pytest.approx(rates, rel=1e-3)
    assert said.replace("1 days", "24 h") in "\n".join(found.said)


ARRIVALS = [
    # evenly spaced, and of single requests
    (rows("t_s,steps", (0, 30), (1, 30), (2, 20), (3, 30)), 4, "asked for: what 'steps' tell"),
    (rows("t_s,input_tokens", (0, 30), (1, 30), (2, 20)), 3, "left out: 'input_tokens'"),
    (rows("t_s", (0,), (1,), (2,)), 3, "each is an arrival"),
    # an access log: whole seconds, some twice
    (
        rows("time,path,bytes", (0, "/a", 9), (1, "/b", 7), (1, "/a", 9), (2, "/c", 8)),
        4,
        "left out: 'path', 'bytes'",
    ),
    (rows("t_s,score", (0, 1.5), (0.3, 2.5), (7, 1.0)), 3, "left out: 'score'"),
]


@pytest.mark.parametrize(("text", "count", "said"), ARRIVALS)
def test_what_tells_of_single_requests_is_arrivals(
    tmp_path: Path, text: str, count: int, said: str
) -> None:
    found = reading(tmp_path, text)
    assert isinstance(found.shape, Arrivals)
    assert found.shape.times_s.size == count
    assert said in "\n".join(found.said)


REFUSED = [
    # a column counts by its name, and the times are no grid
    (
        rows("t_s,count", (0, 5), (3, 7), (10, 2), (11, 4)),
        "'count' counts by its name, but",
        "count",
    ),
    (rows("t_s,n", (0, 5), (0, 7), (1, 2), (2, 9)), "some rows have the same time", "n"),
    # a grid, and who knows what the column is
    (rows("t_s,tweets", (0, 5), (60, 7), (120, 9)), "its times are evenly spaced", "tweets"),
    (rows("t_s,images", (0, 5), (60, 7), (120, 9)), "'images' may be of a bin", "images"),
    (rows("t_s,value,pod", (0, 1, "a"), (9, 7, "b"), (11, 9, "a")), "'value' may count", "value"),
    (rows("minute,tweets", (0, 5), (7, 7), (9, 9)), "no column counts requests", "tweets"),
    # two series side by side
    (
        rows("t_s,pod,cpu", *((t, pod, 0.5) for t in (0, 3, 10, 11) for pod in "ab")),
        "every time has equally many rows",
        "cpu",
    ),
    # two columns that count, of which one would be left out
    (
        rows("t_s,requests,count", (0, 5, 7), (60, 7, 9), (120, 9, 12)),
        "'requests' and 'count' both count by their names",
        "requests, count",
    ),
    # counts, and of single requests at once
    (rows("t_s,count,steps", (0, 5, 30), (1, 7, 30), (2, 9, 20)), "'steps' is of one req", "count"),
]


@pytest.mark.parametrize(("text", "why", "column"), REFUSED)
def test_what_is_uncertain_is_refused_with_both_ways_out_which_work(
    tmp_path: Path, text: str, why: str, column: str
) -> None:
    with pytest.raises(TraceError) as caught:
        reading(tmp_path, text)
    said = str(caught.value)
    assert why in said
    assert f"Name it with rate_column or count_column ({column})" in said
    assert "--count-column" in said
    assert "--rows arrivals" in said
    assert isinstance(reading(tmp_path, text, rows="arrivals").shape, Arrivals)
    if "same time" not in why:
        first = column.partition(",")[0]
        assert isinstance(reading(tmp_path, text, count_column=first).shape, Bins)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (rows("t_s,n", (0, 1), (1, 2)), {"rows": "arrivals", "count_column": "n"}, "leave one"),
        (rows("when,n", (0, 1), (1, 2)), {}, "which column is the time? Name it with time_column"),
        (rows("minute,n", (0, 1), (300, 2)), {}, "--time-scale 60 for minutes, --time-scale 1 for"),
        (rows("t_s,hits_total", (0, 5), (1, 9), (2, 30)), {}, "grows from row to row"),
        (rows("t_s,n", (0, 1), (1, 2), (2, 3, 4)), {}, "row 4 has 3 cells, and the header names 2"),
        (rows("t_s,n,n", (0, 1, 1), (1, 2, 2)), {}, "two columns are named 'n'"),
    ],
)
def test_words_that_cannot_be_are_said(
    tmp_path: Path, text: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraceError) as caught:
        reading(tmp_path, text, **options)
    assert said in str(caught.value)


def test_a_count_that_is_named_is_read_whatever_its_spacing(tmp_path: Path) -> None:
    # 10 s, 7 s, and the last as long as the one before: 20 + 14 + 7 requests
    found = reading(tmp_path, rows("t_s,x", (0, 20), (10, 14), (17, 7)), count_column="x")
    assert isinstance(found.shape, Bins)
    assert found.shape.edges_s == (0.0, 10.0, 17.0, 24.0)
    assert total(found.shape) == pytest.approx(41.0)
    assert "lasts until the next" in "\n".join(found.said)


@pytest.mark.parametrize(
    ("times", "grid"),
    [
        ([0, 1, 2, 3], (1.0, 0)),
        ([0, 60, 120, 240], (60.0, 1)),
        ([0, 1.02, 1.99, 3.01], (1.02, 0)),
        ([0, 1, 3, 8, 20], None),  # whole seconds, few of them one apart
        ([0, 1, 1.5, 2], (0.5, 1)),
        ([0, 1, 1.3, 2.3], None),
        ([5], None),
    ],
)
def test_the_grid_that_times_lie_on(times: list[float], grid: tuple[float, int] | None) -> None:
    found = grid_of(np.array(times, dtype=float))
    assert (found is None) is (grid is None)
    if found is not None and grid is not None:
        assert found.step_s == pytest.approx(grid[0], rel=0.02)
        assert found.missing == grid[1]


@pytest.mark.parametrize(
    ("name", "is_count", "rate"),
    [
        ("requests", True, None), ("num_requests", True, None), ("RequestCount", True, None),
        ("total hits", True, None), ("user_count", True, None), ("http_requests_total", True, None),
        ("request tokens", False, None), ("num_inference_steps", False, None),
        ("user", False, None), ("num_images_per_prompt", False, None),
        ("rps", False, 1.0), ("requests per minute", False, 60.0), ("requests/s", False, 1.0),
        ("QPM", False, 60.0), ("client_cv_rate_weighted", False, None), ("error_rate", False, None),
    ],
)  # fmt: skip
def test_what_a_name_counts(name: str, is_count: bool, rate: float | None) -> None:
    assert counts(name) is is_count
    assert rate_unit_s(name) == rate


@pytest.mark.parametrize(
    ("names", "time"),
    [
        (("n", "TIMESTAMP"), "TIMESTAMP"), (("a", "timestamp_ms"), "timestamp_ms"),
        (("id", "Arrival Time"), "Arrival Time"), (("n", "minute"), "minute"),
        (("@timestamp", "n"), "@timestamp"), (("latency_ms", "n"), None), (("when", "n"), None),
    ],
)  # fmt: skip
def test_which_column_is_the_time(names: tuple[str, ...], time: str | None) -> None:
    assert time_column(names) == time
