"""Prices and the bill: the arithmetic, and that nothing is guessed."""

from pathlib import Path
from typing import Any

import pytest

from profiles.capacity import Asked, block_factors, extrapolate
from profiles.money import Line, one_price, table
from profiles.prices import FILE, PriceError, built_in, read_prices, usable_price
from profiles.published import evidence_of, published
from profiles.schema import Capacity
from profiles.slo import EvidenceError, parse_slo
from tests.profiles.test_capacity import evidence

PRICES = built_in()


def bill(**options: Any) -> dict[str, Line]:
    capacity = extrapolate(evidence(), Asked())  # 1.5 x 0.95 = 1.425 images/s a GPU
    lines = table(capacity, PRICES.event, PRICES.power, one_price(2.0, "told"), **options)
    return {one.what: one for one in lines}


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("Images a user", 700 / 130),
        ("Mean rate", 700e6 / 9 / 86400),  # 900
        ("GPUs for the peak", 2800 / 1.425),
        ("Blocks for the peak", 2800 / 142_500),
        ("Blocks for the week", 700e6 / 9 / 86400 / 142_500),
        ("GPU-hours of the event", 700e6 / 1.425 / 3600),
        ("1,000 images", 1000 / 1.425 / 3600 * 2.0),
        ("The event's images, GPUs busy throughout", 700e6 / 1.425 / 3600 * 2.0),
        ("The event, the peak's GPUs kept for nine days", 2800 / 1.425 * 216 * 2.0),
        ("A free tier, a day for a million users", 3e6 / 1.425 / 3600 * 2.0),
        ("Cloud cost of a week of it", 700e6 * 7 / 9 / 1.425 / 3600 * 2.0),
        (
            "Weekly in-app revenue at which the rise pays it",
            700e6 * 7 / 9 / 1.425 / 3600 * 2.0 / 0.06,
        ),
        ("A block draws", 127.5 * (1.1 * 1.56) ** 0.5),
        ("1,000 images draw", 1000 * 1275 * (1.1 * 1.56) ** 0.5 / 3.6e6 / 1.425),
    ],
)
def test_the_arithmetic(what: str, value: float) -> None:
    assert bill()[what].value == pytest.approx(value)


def test_what_is_not_known_is_asked_for() -> None:
    lines = bill()
    assert lines["Of them subscribers"].value is None
    assert lines["Of them subscribers"].told == "unknown"
    assert "--subscribers" in lines["Of them subscribers"].why
    assert lines["The week's rise in revenue"].value is None
    told = bill(subscriber_share=0.05, weekly_revenue_usd=1e7)
    assert told["Of them subscribers"].value == pytest.approx(6.5e6)
    assert told["The week's rise in revenue"].value == pytest.approx(6e5)
    cost = told["Cloud cost of a week of it"].value
    assert cost is not None
    assert told["Cloud cost over it"].value == pytest.approx(cost / 6e5)


def test_every_line_says_what_it_stands_on_and_bounds_hold_the_value() -> None:
    for one in bill().values():
        assert one.stand in ("measured", "published", "assumed")
        assert one.why
        if one.low is not None and one.value is not None and one.high is not None:
            assert one.low <= one.value <= one.high
    # a measured goodput at an assumed price is an assumed bill
    assert bill()["1,000 images"].stand == "assumed"
    assert bill()["GPU-hours of the event"].stand == "measured"
    assert bill()["GPUs for the peak"].stand == "assumed"


def test_no_bill_without_a_block() -> None:
    withheld = Capacity(block_gpus=1, withheld="no GPU")
    with pytest.raises(ValueError, match="without a block"):
        table(withheld, PRICES.event, PRICES.power, one_price(2.0, "told"))


def test_the_seed_follows_from_its_source() -> None:
    contract = PRICES.offer[0]
    hours = 8766 * 100_000
    assert contract.low_usd_per_gpu_h == pytest.approx(1e9 / hours, abs=5e-3)  # 1.14
    assert contract.high_usd_per_gpu_h == pytest.approx(2e9 / hours, abs=5e-3)  # 2.28


@pytest.mark.parametrize("price", ["-1", "0", "nan", "inf", "cheap"])
def test_prices_that_cannot_be(price: str) -> None:
    with pytest.raises(PriceError, match="--price: a GPU-hour costs more than 0"):
        usable_price(price)


@pytest.mark.parametrize("price", [-1.0, 0.0, float("nan")])
def test_a_bill_needs_a_price(price: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        one_price(price, "told")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("low_usd_per_gpu_h = 1.14", "low_usd_per_gpu_h = -1.14", r"offer\[0\].low"),
        ("low_usd_per_gpu_h = 1.14", "low_usd_per_gpu_h = 9.99", "is above high"),
        ('seller = "market"', 'shop = "market"', "shop"),
        ('stand = "published"', 'stand = "hoped"', "stand"),
        ("pue_low = 1.1", "pue_low = 0.9", "pue_low"),
        ("[power]", "[power", "prices.toml"),
    ],
)
def test_a_wrong_file_names_the_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = FILE.read_text()
    assert old in text
    path = tmp_path / "prices.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(PriceError, match=words):
        read_prices(path)


@pytest.mark.parametrize(
    ("name", "stand"), [("sdxl-h200", "published"), ("flux-dev-h100", "assumed")]
)
def test_nothing_of_a_published_rate_is_called_measured(name: str, stand: str) -> None:
    found = {one.name: one for one in block_factors(evidence_of(name), Asked())}
    assert "measured" not in {one.stand for one in found.values()}
    assert found["admissible utilization"].stand == stand


def test_published_rates_are_labelled_so_and_cannot_be_counted_afresh() -> None:
    found = evidence_of("sdxl-h200")
    assert found.goodput.value == pytest.approx(18.42 / 8)
    assert (found.goodput.stand, found.tested_gpus) == ("published", 8)
    assert "Not measured here" in found.loud[0]
    assert evidence_of("sdxl-h200", parse_slo("p(99) < 20s")).slo.share == 0.99
    with pytest.raises(EvidenceError, match=r"published at p\(99\) < 20s"):
        evidence_of("sdxl-h200", parse_slo("p(95) < 5s"))
    with pytest.raises(EvidenceError, match="without an SLO"):
        evidence_of("flux-dev-h100", parse_slo("p(95) < 5s"))
    with pytest.raises(EvidenceError, match="there are: sdxl-h200"):
        evidence_of("sdxl-h300")
    for name in published():
        assert evidence_of(name).goodput.value > 0
