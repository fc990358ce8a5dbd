"""What a full node does is found in windows in which a queue stood, and in no others."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from profiles.capacity.evidence import estimate
from profiles.capacity.factors import alone
from profiles.capacity.goodput import measure_goodput
from profiles.record.columns import CODES, Recorded, read
from profiles.requests.attempts import add_up
from profiles.requests.rates import load_window
from profiles.requests.saturation import Saturated, saturated
from profiles.requests.slo import SloError, TooLittleError, parse_slo
from profiles.schema import Outcome, RequestRecord
from profiles.stats import bootstrap
from profiles.stats.step_function import Level
from profiles.summary.run import compute
from tests.profiles.hopper import Hopper
from tests.profiles.nodes import STEADY, VIRAL, Node, Split, came
from tests.profiles.synthetic import START_S
from tests.profiles.viral import viral_run

WITHIN_10S = parse_slo("p(95) < 10s")
BATCHES = Node(gpus=2, batch=8)  # a lone request takes much less than one of a full batch


def cut(run: Recorded) -> Saturated:
    window = load_window(run)
    assert window is not None
    return saturated(add_up(run.requests, run.manifest).attempts, window)


FULL: list[tuple[str, Node, float, tuple[float, ...]]] = [
    ("steady, a third too much", Node(), 1.3, STEADY),
    ("one GPU", Node(gpus=1, spread=0.1), 1.3, STEADY),
    ("viral, peak 1.5 times the node", Node(spread=0.1), 1.5, VIRAL),
    ("viral, peak 2.6 times the node", Node(), 2.6, VIRAL),
    ("eight slow ones", Node(gpus=8, service_s=3.0), 1.5, STEADY),
    ("batches that pay", replace(BATCHES, slower=0.05), 1.5, VIRAL),
    ("batches that do not", replace(BATCHES, service_s=0.3, slower=0.9), 1.4, STEADY),
    ("a bounded queue refuses", Node(queue_limit=8), 1.3, STEADY),
    ("refused before a queue is long", Node(queue_limit=4), 2.6, VIRAL),
    ("a fifteen seconds' outage", Node(outage=(30.0, 45.0)), 1.5, VIRAL),
    ("exponential service", Node(exponential=True), 1.5, STEADY),
    ("a queue for each GPU", Split(gpus=4), 1.4, STEADY),
    ("told nothing: steady", Node(tells=False), 1.3, STEADY),
    ("told nothing: viral", Node(tells=False), 2.6, VIRAL),
    ("told nothing: batches that pay", replace(BATCHES, slower=0.05, tells=False), 1.3, STEADY),
    ("told nothing: refused", Node(queue_limit=8, tells=False), 1.5, STEADY),
    ("told nothing: an outage", Node(outage=(30.0, 45.0), tells=False), 1.5, VIRAL),
]


@pytest.mark.parametrize(("node", "demand", "curve"), [row[1:] for row in FULL],
                         ids=[row[0] for row in FULL])  # fmt: skip
def test_a_full_nodes_rate_is_what_it_can_do(
    node: Node, demand: float, curve: tuple[float, ...]
) -> None:
    for seed in range(2):
        found = estimate(
            [measure_goodput(came(node, demand, curve=curve, seed=seed), WITHIN_10S, node.gpus)]
        )
        interval = alone(found.rate)
        assert interval.low <= 1.01 * node.images_per_s_per_gpu
        assert interval.high >= 0.99 * node.images_per_s_per_gpu
        assert found.rate.value == pytest.approx(node.images_per_s_per_gpu, rel=0.12)
        assert found.saturated
        assert "in which a queue stood" in found.rate.source


SPARE: list[tuple[str, Node, float, tuple[float, ...]]] = [
    ("half of it", Node(), 0.5, STEADY),
    ("four fifths, exponential", Node(exponential=True), 0.6, STEADY),
    ("a peak of four fifths", Node(), 0.8, VIRAL),
    ("everybody waits for the batch under way", replace(BATCHES, slower=0.2), 0.6, STEADY),
    ("slow batches of one GPU", Node(gpus=1, batch=8, slower=0.9, service_s=0.5), 0.7, STEADY),
    ("a queue for each GPU, some of them idle", Split(gpus=8), 0.8, STEADY),
    ("hardly a queue: refused by chance", Node(queue_limit=1), 0.8, STEADY),
    ("refused now and then", Node(queue_limit=2), 0.9, STEADY),
    ("told nothing: half of it", Node(tells=False), 0.5, STEADY),
    ("told nothing: a peak of four fifths", Node(tells=False), 0.8, VIRAL),
    ("told nothing: batches fill up", replace(BATCHES, slower=0.05, tells=False), 0.7, VIRAL),
    ("told nothing: refused by chance", Node(queue_limit=1, tells=False), 0.8, STEADY),
]


@pytest.mark.parametrize(("node", "demand", "curve"), [row[1:] for row in SPARE],
                         ids=[row[0] for row in SPARE])  # fmt: skip
def test_one_with_room_to_spare_tells_nothing(
    node: Node, demand: float, curve: tuple[float, ...]
) -> None:
    for seed in range(2):
        with pytest.raises(TooLittleError, match=r"queue stood.* `viralload find`"):
            measure_goodput(came(node, demand, curve=curve, seed=seed), WITHIN_10S, node.gpus)


@pytest.mark.parametrize("tells", [True, False])
def test_just_below_its_limit_it_tells_the_truth_or_nothing(tells: bool) -> None:
    node = Node(spread=0.2, tells=tells)
    rates = []
    for seed in range(8):
        run = came(node, 0.95, seed=seed)
        try:
            rates.append(measure_goodput(run, WITHIN_10S, node.gpus).rate_per_gpu)
        except TooLittleError:
            continue
    assert rates == pytest.approx([node.images_per_s_per_gpu] * len(rates), rel=0.03)


def test_the_queue_that_is_left_after_the_rush_counts_too() -> None:
    # 90 s, peak at 45: of 2.6 times the node, so that demand is below it again from 60 s on
    found = cut(came(Node(), 2.6, curve=VIRAL))
    late = (found.edges[:-1] > START_S + 62.0) & found.counts
    assert late.sum() >= 3
    assert found.images_per_s[late].mean() == pytest.approx(8.0)


def test_an_outage_is_no_saturation() -> None:
    found = cut(came(Node(outage=(30.0, 45.0)), 1.5, curve=VIRAL))
    out = (found.edges[1:] > START_S + 30.0) & (found.edges[:-1] < START_S + 45.0)
    assert not found.counts[out].any()
    assert found.counts[~out].any()


def test_while_one_of_the_gpus_is_silent_the_node_is_not_what_it_was() -> None:
    run = came(Split(gpus=4), 1.5)
    lost = run.requests.devices.index(("GPU-0", None))
    silent = (run.requests.device == lost) & (run.requests.done_s > START_S + 45.0)
    kept = np.flatnonzero(~silent)
    counts = cut(replace(run, requests=run.requests.take(kept)))
    after = counts.edges[:-1] > START_S + 48.0
    assert counts.counts[~after].sum() > 20
    assert not counts.counts[after].any()


def test_what_a_person_waits_for_between_tries_is_no_queue() -> None:
    """Each try is asked for at once and refused; half a minute later another one is answered."""
    node = Node(tells=False)
    run = came(node, 0.4)
    tries: list[RequestRecord] = []
    for seq, at in enumerate((run.requests.scheduled_s - START_S).tolist()):
        tries += [_try(seq, 1, at, 0.004, "rejected"), _try(seq, 2, at + 30.0, 0.5, "ok")]
    again = came(node, 0.4, records=tries)
    assert not cut(again).counts.any()


def _try(seq: int, attempt: int, due: float, took: float, outcome: str) -> RequestRecord:
    told = {
        "seq": seq, "attempt": attempt, "scheduled_s": START_S + due, "sent_s": START_S + due,
        "done_s": START_S + due + took, "outcome": outcome, "images": 1, "width": 512,
        "height": 512, "prompt_chars": 9,
    }  # fmt: skip
    return msgspec.convert(told, RequestRecord)


def test_a_block_after_a_viral_hour_is_what_the_plateau_says(tmp_path: Path) -> None:
    """Eight GPUs at a peak of 2.6 times the mean: 103,000 images/s by the mean, wrong by half."""
    run = read(viral_run(
        tmp_path, gpus=8, peak_images_per_s=26.0, service_s=0.45, queue_limit=96, retell=Hopper(),
    ))  # fmt: skip
    assert run.manifest.plan is not None
    assert run.manifest.plan.peak_images_per_s / run.manifest.plan.mean_images_per_s > 2.3
    summary = compute(run)
    capacity = summary.capacity
    assert capacity is not None
    a_gpu = 0.996 / (0.45 * 1.025)  # ok share, over the mean of 0.9 to 1.15 times the service
    assert capacity.images_per_s_per_gpu == pytest.approx(a_gpu, rel=0.02)
    block = 100_000 * 0.95 * a_gpu  # 205,000 with 5% spare
    assert capacity.block_images_per_s is not None
    assert capacity.block_low_images_per_s is not None
    assert capacity.block_high_images_per_s is not None
    assert capacity.block_low_images_per_s < block < capacity.block_high_images_per_s
    assert capacity.block_images_per_s == pytest.approx(block, rel=0.06)  # the SLO leaves room
    assert capacity.gpus_for_peak == pytest.approx(833 / block * 100_000, rel=0.06)
    mean = summary.completed_images_per_s
    assert mean is not None
    assert mean / 8 < 0.65 * a_gpu


def test_windows_are_so_long_that_a_full_node_answers_in_each() -> None:
    # one GPU, batches of 8 that take 7.6 s: windows of two of them, not of a sixtieth of 300 s
    found = cut(came(Node(gpus=1, service_s=2.0, batch=8, slower=0.4), 1.5, duration_s=300.0))
    assert found.window_s == pytest.approx(15.2, rel=0.1)
    assert found.rates.mean() == pytest.approx(8 / 7.6, rel=0.05)


def test_too_few_windows_say_how_many_it_takes() -> None:
    with pytest.raises(TooLittleError, match=r"in only \d of 10 windows .* takes 5 of them and 10"):
        measure_goodput(came(Node(), 1.6, duration_s=10.0), WITHIN_10S, 4)


def test_an_slo_below_the_service_of_a_full_node_is_never_met() -> None:
    # batches of 8 take 1.2 s, a lone one half a second
    node = Node(gpus=2, batch=8, slower=0.2)
    with pytest.raises(SloError, match=r"a full node never meets .* service alone took 1.2 s"):
        measure_goodput(came(node, 1.4), parse_slo("p(95) < 1s"), 2)


def test_equal_windows_still_leave_the_doubt_of_what_their_edges_cut() -> None:
    found = measure_goodput(came(Node(), 1.4), WITHIN_10S, 4)
    assert bootstrap.spread(found.windows).sd == pytest.approx(0.0)
    # a service of 0.5 s is cut at either end of one stretch of some 58 windows of 1.5 s
    assert estimate([found]).rate.log_sd == pytest.approx(0.5 / 6**0.5 / 87.0, rel=0.05)


def test_a_level_over_time() -> None:
    # 2 from 1 to 4 s and 1 more from 3 to 6 s: 0 2 2 3 1 1 0
    level = Level.of(np.array([1.0, 3.0]), np.array([4.0, 6.0]), np.array([2.0, 1.0]))
    edges = np.array([0.0, 2.0, 4.0, 8.0])
    assert level.before(np.array([1.0, 1.5, 4.0, 9.0])).tolist() == [0.0, 2.0, 3.0, 0.0]
    assert level.share(edges, 1.0).tolist() == [0.5, 1.0, 0.5]
    assert level.share(edges, 3.0).tolist() == [0.0, 0.5, 0.0]
    assert level.least(edges).tolist() == [0.0, 2.0, 0.0]
    assert level.minus(level).share(edges, 0.0).tolist() == [1.0, 1.0, 1.0]
    nothing = Level.of(np.empty(0), np.empty(0), np.empty(0))
    assert nothing.share(edges, 1.0).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("tells", [True, False])
def test_refusals_that_are_no_fullness_say_nothing(tells: bool) -> None:
    """A gateway refuses one in ten whatever is in flight: 20 of 64 slots of 2 s."""
    run = came(Node(gpus=64, service_s=2.0, tells=tells), 0.4)
    random = np.random.default_rng(0).random(len(run.requests)) < 0.1
    refused = np.where(random, CODES[Outcome.REJECTED], run.requests.outcome).astype(np.int8)
    done_s = np.where(random, run.requests.sent_s + 0.004, run.requests.done_s)
    requests = replace(run.requests, outcome=refused, done_s=done_s)
    assert not cut(replace(run, requests=requests)).counts.any()
