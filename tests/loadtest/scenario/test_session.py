"""[session]: what cannot be, and scripts whose sums are known beforehand."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.cli.options.overrides import scenario_of
from loadtest.cli.options.parser import parser
from loadtest.errors import ConfigurationError, ScenarioError
from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import builtin_names, parse_scenario, scenario_text
from loadtest.scenario.session import (
    PersonClass,
    Retry,
    Session,
    hopeless_retries,
    images_a_person,
    impatience,
    requests_a_person,
    scripts,
)
from loadtest.traffic.distributions import Fixed, Quantiles, quantile
from loadtest.units import Duration

GENTD26 = {1: 0.58, 2: 0.08, 4: 0.19, 8: 0.15}

BASE = """
name = "people"
title = "People"
[curve]
kind = "constant"
rate_per_s = 12
duration = "100s"
[session]
{session}
"""


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ("requests = 0.5", "$.session.requests: expected a mean from 1 to 100, got 0.5"),
        ('requests = {"0" = 1}', "$.session.requests: '0' is no whole number from 1 to 1000"),
        ('requests = {"2" = 0}', "$.session.requests: the weights sum to 0"),
        ('steps = {"many" = 1}', "$.session.steps: 'many' is no whole number"),
        ('steps = {"²" = 1}', "$.session.steps: '²' is no whole number"),
        ('requests = {"2" = inf}', "`$.session.requests[...]`"),
        ('think = {kind = "lognormal", median = "3s", sigma = inf}', "`$.session.think.sigma`"),
        ('think = {kind = "exponential", mean = 0}', "$.session.think: the mean"),
        ('think = {kind = "normal"}', "Invalid value 'normal' at `$.session.think.kind`"),
        ('think = {kind = "lognormal", median = "3s", sigma = -1}', "`$.session.think.sigma`"),
        ('patience = {kind = "fixed", value = 0}', "$.session.patience: nobody waits at all"),
        ('patience = {kind = "fixed", values = 1}', "unknown key 'values' at $.session.patience"),
        ('retry = {policy = "later"}', "$.session.retry.policy"),
        ("retry = {most_attempts = 0}", "$.session.retry.most_attempts"),
        (
            'retry = {policy = "backoff", first = "9s", cap = "3s"}',
            "$.session.retry: backoff needs 0 < first <= cap",
        ),
        ("[session.classes.free]\nshare = 0", "$.session.classes: the shares sum to 0"),
        ("[session.classes.gold]\nshare = 1", "$.session.classes"),
        ("[session.classes.free]\nshare = 1\nimages = 3", "unknown key 'images' at $.session.cl"),
        ("[session.classes.free]\nshare = 1\nimages_a_day = 0", "images_a_day"),
    ],
)
def test_impossible_people_are_refused(session: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(BASE.format(session=session))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("session", "images", "mean"),
    [
        (Session(), {1: 1.0}, 1.0),
        (Session(requests=2.0), GENTD26, 5.4),  # two requests of 2.7 images
        (Session(requests={"1": 1.0, "3": 1.0}), {2: 1.0}, 4.0),
        # three images at most, of four in one request
        (Session(classes={"free": PersonClass(share=1, images_a_day=3)}), {4: 1.0}, 3.0),
        # one image a request, geometric with mean 2: 1 + 1/2 + 1/4
        (
            Session(requests=2.0, classes={"free": PersonClass(share=1, images_a_day=3)}),
            {1: 1.0},
            1.75,
        ),
        # half of them limited: (1.75 + 2) / 2
        (
            Session(
                requests=2.0,
                classes={
                    "free": PersonClass(share=1, images_a_day=3),
                    "paying": PersonClass(share=1),
                },
            ),
            {1: 1.0},
            1.875,
        ),
    ],
)
def test_images_a_person_are_known_beforehand(
    session: Session, images: dict[int, float], mean: float
) -> None:
    assert images_a_person(session, images) == pytest.approx(mean)


@pytest.mark.parametrize("limit", [999, 9_999, 10**20])
def test_a_limit_that_nobody_reaches_changes_nothing_and_takes_no_time(limit: int) -> None:
    limited = Session(requests=2.0, classes={"free": PersonClass(share=1, images_a_day=limit)})
    assert images_a_person(limited, GENTD26) == pytest.approx(5.4)


@settings(max_examples=30, deadline=None)
@given(
    requests=st.floats(1, 6),
    limit=st.none() | st.integers(1, 9),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_scripts_keep_to_mean_limit_and_shape(
    requests: float, limit: int | None, share: float, seed: int
) -> None:
    session = Session(
        requests=requests,
        classes={
            "free": PersonClass(share=1 - share + 1e-9, images_a_day=limit),
            "paying": PersonClass(share=share),
        },
    )
    rows = scripts(session, GENTD26, np.linspace(0, 10, 20_000), 1e9, seed)
    per_person = np.bincount(rows["person"], weights=rows["images"])
    error = per_person.std() / np.sqrt(per_person.size)
    assert abs(per_person.mean() - images_a_person(session, GENTD26)) < 5 * error + 1e-6
    assert np.all(np.diff(rows["person"].astype(int)) >= 0)
    if limit is not None:
        free = np.unique(rows["person"][rows["paying"] == 0])
        assert per_person[free].max(initial=0) <= limit


def test_scripts_are_of_scenario_and_seed_alone_and_cut_at_the_loads_end() -> None:
    session = Session(
        requests=3.0,
        think=Quantiles(p10=Duration(1), p50=Duration(3), p90=Duration(20)),
        patience=Fixed(value=Duration(9)),
        steps={"30": 0.91, "40": 0.09},
    )
    arrivals = np.linspace(0, 50, 5000, endpoint=False)
    rows = scripts(session, {1: 1.0}, arrivals, 50.0, 5)
    np.testing.assert_array_equal(rows, scripts(session, {1: 1.0}, arrivals, 50.0, 5))
    assert not np.array_equal(rows["images"], scripts(session, GENTD26, arrivals, 50.0, 6))
    # the first people are the same however many follow
    few = scripts(session, {1: 1.0}, arrivals[:100], 50.0, 5)
    np.testing.assert_array_equal(few, rows[rows["person"] < 100])
    assert rows["t_s"].max() < 50.0
    assert np.unique(rows["person"]).size == 5000  # everyone makes one at least
    first = np.flatnonzero(np.diff(rows["person"].astype(int), prepend=-1))
    np.testing.assert_array_equal(rows["t_s"][first], arrivals)
    assert set(rows["think_s"][first]) == {0.0}
    follows = np.setdiff1d(np.arange(rows.size), first)
    gaps = rows["t_s"][follows] - rows["t_s"][follows - 1]
    np.testing.assert_allclose(gaps, rows["think_s"][follows], atol=1e-9)
    assert set(rows["patience_s"]) == {9.0}
    assert np.mean(rows["steps"] == 30) == pytest.approx(0.91, abs=0.02)
    assert set(rows["paying"]) == {-1}


def test_the_plan_counts_people_and_what_they_intend() -> None:
    scenario = parse_scenario(BASE.format(session="requests = 4.0"))
    plan, schedule = make_plan(scenario, load_source(scenario, None), Node())  # type: ignore[arg-type]
    # 12 images/s x 100 s = 1,200 images of 300 people, within five standard deviations
    assert plan.people == pytest.approx(300, abs=5 * 300**0.5)
    assert plan.images == pytest.approx(1200, abs=5 * (300 * (16 + 12)) ** 0.5)
    assert (plan.requests, plan.images) == (schedule.size, int(schedule["images"].sum()))
    area = np.sum(plan.curve_images_per_s) * plan.duration_s / len(plan.curve_t_s)
    assert area == pytest.approx(plan.images)


@pytest.mark.parametrize(
    ("timeout_s", "image_s", "expected"),
    [
        (60.0, 1.0, None),
        (60.0, 15.0, (False, "session.patience: 5% wait at most")),
        (600.0, 200.0, (True, "session.patience: nobody waits longer")),
        (60.0, 90.0, (True, "request.timeout: 1 min is too short")),
    ],
)
def test_patience_below_the_servers_floor(
    timeout_s: float, image_s: float, expected: tuple[bool, str] | None
) -> None:
    # 5% wait less than 10 s, 99% less than 2 min
    patience = Quantiles(p10=Duration(12), p50=Duration(30), p90=Duration(75))
    found = impatience(Session(patience=patience), timeout_s, image_s)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found[0] is expected[0]
    assert found[1].startswith(expected[1])
    assert "for an image even alone" in found[1]


@pytest.mark.parametrize(
    ("retry", "timeout_s", "image_s", "said"),
    [
        (Retry(policy="backoff", first=Duration(2)), 10.0, 1.0, []),
        (Retry(policy="backoff", first=Duration(30)), 10.0, 6.0, ["first = 30 s is half of that"]),
        (Retry(policy="backoff", first=Duration(30)), 10.0, 4.0, []),  # 15 s, and 4 s of 20 s left
        (Retry(policy="immediate", first=Duration(300)), 10.0, 1.0, []),
        (Retry(policy="immediate"), 20.0, 1.0, ["instead of trying again after a timeout"]),
        (Retry(policy="backoff", first=Duration(90), cap=Duration(90)), 60.0, 0.0,
         ["instead of trying again", "hardly anyone's second attempt can succeed"]),
        (Retry(policy="none", first=Duration(300)), 60.0, 1.0, []),
        (Retry(policy="backoff", most_attempts=1, first=Duration(30)), 60.0, 9.0, []),
    ],
)  # fmt: skip
def test_retries_that_patience_leaves_no_room_for(
    retry: Retry, timeout_s: float, image_s: float, said: list[str]
) -> None:
    session = Session(patience=Fixed(value=Duration(20)), retry=retry)
    found = hopeless_retries(session, timeout_s, image_s)
    assert len(found) == len(said)
    for one, words in zip(found, said, strict=True):
        assert words in one
    assert hopeless_retries(Session(retry=retry), timeout_s, image_s) == []  # endless patience


@pytest.mark.parametrize("name", builtin_names())
def test_the_built_in_people_have_time_to_try_again(name: str) -> None:
    scenario = parse_scenario(scenario_text(name)[0])
    if scenario.session is not None:
        assert hopeless_retries(scenario.session, float(scenario.request.timeout), 1.0) == []


@pytest.mark.parametrize(
    ("session", "mean"),
    [
        (Session(requests=4.0), 4.0),
        (Session(requests={"1": 1.0, "9": 1.0}), 5.0),
        (Session(requests={"9": 1.0}, classes={"free": PersonClass(share=1, images_a_day=3)}), 3.0),
    ],
)
def test_requests_a_person(session: Session, mean: float) -> None:
    assert requests_a_person(session) == pytest.approx(mean)


def test_the_bound_of_a_plan_is_on_requests_not_on_people() -> None:
    # 240,000 people, whom the bound would let through, with 100 requests each: 24 million
    text = BASE.format(session='requests = {"100" = 1}').replace("= 12", "= 240_000")
    scenario = parse_scenario(text)
    with pytest.raises(ConfigurationError, match="would hold 24,000,000 requests"):
        make_plan(scenario, load_source(scenario, None), Node())  # type: ignore[arg-type]


def test_steps_are_a_mix_or_a_number() -> None:
    text = BASE.format(session='steps = {"30" = 1}')
    with pytest.raises(ScenarioError, match=r"\$.request.steps: session.steps is a mix of them"):
        parse_scenario(text + "[request]\nsteps = 20\n")


def test_steps_of_the_command_line_replace_the_mix() -> None:
    asked = parser().parse_args(["plan", "crowd", "--steps", "7", "--retry", "none"])
    changed, _, _ = scenario_of(asked)
    assert changed.session is not None
    assert (changed.session.steps, changed.request.steps) == (None, 7)
    assert (changed.session.retry.policy, changed.session.retry.most_attempts) == ("none", 5)
    assert changed.session.classes["free"].images_a_day == 3


def test_endless_patience_is_never_too_short() -> None:
    assert impatience(Session(), 60.0, 59.0) is None


def test_the_presets_carry_the_published_figures() -> None:
    crowd = parse_scenario(scenario_text("crowd")[0])
    assert crowd.session is not None
    shares: Any = crowd.session.requests, crowd.session.steps, crowd.request.images
    assert shares[0] == 2.0
    assert shares[1]["30"] == 0.91
    assert shares[1]["40"] == 0.05
    assert {int(k): v for k, v in shares[2].items()} == GENTD26
    think = [quantile(crowd.session.think, share) for share in (0.1, 0.5, 0.9)]
    assert think == pytest.approx([27.0, 73.0, 704.0])
    free = crowd.session.classes["free"]
    assert free.images_a_day == 3
    without_limit = msgspec.structs.replace(crowd.session, classes={})
    assert images_a_person(without_limit, GENTD26) == pytest.approx(700 / 130, rel=0.01)
    assert images_a_person(crowd.session, GENTD26) == pytest.approx(2.6, abs=0.05)  # as it says
    told = " ".join(crowd.notes)
    for source in ("GenTD26", "700 million by 130 million", "27 March 2025"):
        assert source in told
    assert {"crowd", "melting"} <= set(builtin_names())
