import numpy as np
import pytest

from profiles.record.columns import request_columns
from profiles.report.text.search import plot
from profiles.schema import (
    FindResult,
    FindVerdict,
    FindWindow,
    Outcome,
    RequestRecord,
    SearchPlan,
    WindowRecord,
)
from profiles.search.crossing import Count
from profiles.search.windows import counts, look, missed
from tests.profiles import synthetic

SEARCH = SearchPlan(slo="p(95) < 1s", limit_s=1.0, allowed_share=0.05, precision=0.03, time_s=60.0)


def record(seq: int, due: float, outcome: Outcome = Outcome.OK, **s: float) -> RequestRecord:
    """Request `seq`, due so; sent then too, unless told, and answered, if told."""
    sent = None if outcome is Outcome.UNSENT else s.get("sent", due)
    return synthetic.record(
        seq, scheduled_s=due, sent_s=sent, done_s=s.get("done"), outcome=outcome
    )


def planned(index: int, start_s: float, requests: int, first_seq: int) -> WindowRecord:
    return WindowRecord(
        index=index, rate_per_s=requests / 10, start_s=start_s, duration_s=10.0,
        first_seq=first_seq, requests=requests, images=requests, seed=1, short=False, fresh=False,
    )  # fmt: skip


def test_everything_but_an_ok_answer_in_time_is_a_miss() -> None:
    assert missed(np.array([0.5, 1.0, 1.5, np.nan]), 1.0).tolist() == [False, True, True, True]


def test_windows_take_their_own_requests_however_the_records_lie() -> None:
    first, second = planned(0, 10.0, 4, 0), planned(1, 20.0, 3, 4)
    due = [np.array([10.0, 12.0, 14.0, 16.0]), np.array([21.0, 22.0, 23.0])]
    records = [
        record(5, 22.0, done=22.5),
        record(0, 10.0, done=10.2),
        record(1, 12.0, done=14.0),  # late
        record(2, 14.0, done=14.1, outcome=Outcome.REJECTED),
        record(4, 21.0, done=21.5),
        # 3 and 6 have no answer yet
    ]
    one, two = look([first, second], due, request_columns(records), SEARCH, 0.1)
    assert (one.requests, one.missed, one.thrown_out) == (4, 3, None)
    assert one.completed_images_per_s == pytest.approx(0.2)  # 0 and 1, in 10 s
    assert (two.requests, two.missed) == (3, 1)
    # at 22.5 nothing is known of what was due later: 2.5 s of 10 are too little
    *_, two = look([first, second], due, request_columns(records), SEARCH, 0.1, settled_s=22.5)
    assert (two.requests, two.missed, two.thrown_out) == (2, 0, "too little of it is known")


def test_a_window_in_which_the_generator_was_late_is_thrown_out() -> None:
    due = 10.0 + np.arange(10.0)
    late = [record(k, t, sent=t + 0.3, done=t + 0.5) for k, t in enumerate(due)]
    (window,) = look([planned(0, 10.0, 10, 0)], [due], request_columns(late), SEARCH, 0.1)
    assert window.thrown_out == "the generator was late: p99 300 ms, bound 100 ms"
    assert counts([window]) == []


def test_a_window_that_was_cut_short_is_thrown_out() -> None:
    due = 10.0 + np.arange(10.0)
    cut = [record(k, t, outcome=Outcome.UNSENT) for k, t in enumerate(due)]
    (window,) = look([planned(0, 10.0, 10, 0)], [due], request_columns(cut), SEARCH, 0.1)
    assert window.thrown_out == "it was cut short"


def window(rate: float, p95_s: float, missed: int) -> FindWindow:
    return FindWindow(
        index=0, rate_per_s=rate, start_s=0, duration_s=10, short=False, warm_up_s=0,
        requests=100, missed=missed, completed_images_per_s=rate, latency_p95_s=p95_s,
    )  # fmt: skip


def test_the_terminal_shows_the_knee() -> None:
    result = FindResult(
        run_id="r", scenario="s", verdict=FindVerdict.FOUND, valid=True, reasons=[],
        slo="p(95) < 1s", limit_s=1.0, allowed_share=0.05, precision=0.03, requests_per_s=90.0,
        images_per_s=90.0, low_images_per_s=85.0, high_images_per_s=95.0,
        windows=[window(20, 0.1, 0), window(80, 0.5, 1), window(100, 9.0, 80)],
    )  # fmt: skip
    lines = plot(result)
    assert lines[0].rstrip().endswith("x")  # the slow one, at the upper edge
    assert lines[13].index("o") < lines[11].index("o")  # latency rises to the right
    assert sum(line.count("|") - 1 for line in lines[:14]) >= 13  # the capacity, top to bottom
    assert "SLO 1 s" in lines[8]
    assert counts(result.windows)[0] == Count(rate_per_s=20, requests=100, missed=0)
    assert plot(FindResult(
        run_id="r", scenario="s", verdict=FindVerdict.UNMET, valid=True, reasons=[],
        slo="p(95) < 1s", limit_s=1.0, allowed_share=0.05, precision=0.03,
    )) == []  # fmt: skip
