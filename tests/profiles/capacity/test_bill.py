"""Prices and the bill: the arithmetic, and that nothing is guessed."""

import math
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.capacity.bill import Line, bill_of, one_price, table
from profiles.capacity.block import ExtrapolationOptions, block_factors, extrapolate
from profiles.capacity.factors import known
from profiles.capacity.prices import (
    FILE,
    Offer,
    Power,
    PriceError,
    Prices,
    built_in,
    choose,
    elsewhere,
    read_prices,
    usable_price,
)
from profiles.capacity.published import evidence_of, published
from profiles.requests.slo import EvidenceError, parse_slo
from profiles.schema import Capacity, Stand
from tests.profiles.capacity.test_block import evidence

PRICES = built_in()
POWER = msgspec.structs.replace(PRICES.power, stand="published")


def bill(power: Power = PRICES.power, **options: Any) -> dict[str, Line]:
    capacity = extrapolate(evidence(), ExtrapolationOptions())  # 1.5 x 0.95 = 1.425 images/s a GPU
    lines = table(capacity, PRICES.event, power, one_price(2.0, "told"), **options)
    return {one.what: one for one in lines}


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("Images per user", 700 / 130),
        ("Mean rate of the nine days", 700e6 / 9 / 86400),  # 900
        ("GPUs for the peak of the nine days", 2800 / 1.425),
        ("Blocks for the peak of the nine days", 2800 / 142_500),
        ("Blocks for the mean of the nine days", 700e6 / 9 / 86400 / 142_500),
        ("GPU-hours of the nine days", 700e6 / 1.425 / 3600),
        ("1,000 images", 1000 / 1.425 / 3600 * 2.0),
        ("The nine days' images, GPUs busy throughout", 700e6 / 1.425 / 3600 * 2.0),
        ("The nine days, the peak's GPUs kept", 2800 / 1.425 * 216 * 2.0),
        ("A free tier, a day for a million users", 3e6 / 1.425 / 3600 * 2.0),
        ("Cloud cost of a week of the nine days", 700e6 * 7 / 9 / 1.425 / 3600 * 2.0),
        (
            "Weekly in-app revenue at which the rise pays it",
            700e6 * 7 / 9 / 1.425 / 3600 * 2.0 / 0.06,
        ),
        ("A free tier, a day for all users", 3 * 130e6 / 1.425 / 3600 * 2.0),
        ("A week of the nine days, the peak's GPUs kept", 2800 / 1.425 * 168 * 2.0),
        ("In-app revenue rose by", 6.0),
        ("100,000 GPUs draw", 127.5 * (1.1 * 1.56) ** 0.5),
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
    cost = told["Cloud cost of a week of the nine days"].value
    assert cost is not None
    assert told["Cloud cost over it"].value == pytest.approx(cost / 6e5)
    day = told["A free tier, a day for all but subscribers"].value
    assert day == pytest.approx(3 * 0.95 * 130e6 / 1.425 / 3600 * 2.0)
    event = told["The nine days' images, GPUs busy throughout"].value
    assert event is not None
    assert told["The nine days' images, for each subscriber"].value == pytest.approx(event / 6.5e6)


def test_half_a_block_costs_an_image_and_the_event_as_much_as_a_whole() -> None:
    whole = bill()
    capacity = extrapolate(evidence(), ExtrapolationOptions(gpus=50_000))
    half = {
        one.what: one for one in table(capacity, PRICES.event, PRICES.power, one_price(2.0, "told"))
    }
    watts = "50,000 GPUs draw"
    assert half[watts].value == pytest.approx((whole["100,000 GPUs draw"].value or 0.0) / 2)
    for what in half.keys() - {watts}:
        assert half[what].value == pytest.approx(whole[what].value), what


def test_every_line_says_what_it_stands_on_and_bounds_hold_the_value() -> None:
    for one in bill().values():
        assert one.stand in ("measured", "published", "assumed")
        assert one.why
        if one.low is not None and one.value is not None and one.high is not None:
            assert one.low <= one.value <= one.high
    # spare and site are assumed, so whatever is divided by the block's goodput is
    for what in (
        "1,000 images",
        "GPU-hours of the nine days",
        "GPUs for the peak of the nine days",
    ):
        assert bill()[what].stand == "assumed"
    assert "goodput per GPU measured" in bill()["GPUs for the peak of the nine days"].why


@pytest.mark.parametrize("goodput", ["measured", "published"])
def test_a_line_is_as_weak_as_its_weakest_part(goodput: Stand) -> None:
    alone = known("goodput per GPU", 1.0, 0.1, goodput, "told")
    capacity = Capacity(block_gpus=100_000, block_images_per_s=1e5, factors=[alone])
    lines = {
        one.what: one.stand
        for one in table(
            capacity, PRICES.event, POWER, one_price(2.0, "told", "published"), gpu="H100"
        )
    }
    assert lines["GPU-hours of the nine days"] == goodput
    assert lines["1,000 images"] == lines["1,000 images draw"] == "published"
    # the peak is fitted; that all is used, and that GPUs are busy throughout, is assumed
    for what, stand in lines.items():
        if "peak" in what.lower() or "free tier" in what or "a week of" in what:
            assert stand == "assumed", what


def test_watts_of_another_gpu_are_assumed() -> None:
    stands = {
        gpu: bill(POWER, gpu=gpu)["100,000 GPUs draw"].stand
        for gpu in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "AMD Instinct MI300X", None)
    }
    assert list(stands.values()) == ["published", "assumed", "assumed", "assumed"]
    assert bill(gpu="NVIDIA H100")["100,000 GPUs draw"].stand == "assumed"  # no publication named


def _offers(*told: dict[str, Any]) -> Prices:
    plain = {"seller": "Azure", "date": "2026", "stand": "published", "source": "told"}
    offers = [
        Offer(**(plain | {"low_usd_per_gpu_h": 1.0, "high_usd_per_gpu_h": 1.0} | one))
        for one in told
    ]
    return Prices(offer=offers, power=PRICES.power, event=PRICES.event)


def test_the_offer_is_for_the_gpu_that_was_measured() -> None:
    prices = _offers(
        {"seller": "contract"},
        {"vendor": "AMD", "gpu": "MI300X"},
        {"vendor": "NVIDIA", "gpu": "H200", "date": "2025-12"},
        {"vendor": "NVIDIA", "gpu": "H200", "date": "2026-03"},
    )
    h200 = choose(prices, "Azure", "NVIDIA H200")
    assert (h200.gpu, h200.date) == ("H200", "2026-03")
    assert choose(prices, "Azure", "AMD Instinct MI300X").gpu == "MI300X"
    assert choose(prices, None, "NVIDIA L4").seller == "contract"
    for gpu in ("NVIDIA L4", None):
        with pytest.raises(PriceError, match=r"'Azure' is for .*only for: H200, MI300X. Add one"):
            choose(prices, "Azure", gpu)
    with pytest.raises(PriceError, match=r"there are: Azure, contract"):
        choose(prices, "Acme", "NVIDIA H200")
    with pytest.raises(PriceError, match="no price is known"):
        choose(_offers())


def test_every_price_that_is_known_is_there() -> None:
    told = [(one.seller, one.low_usd_per_gpu_h, one.high_usd_per_gpu_h) for one in PRICES.offer]
    assert told[:2] == [("contract", 1.14, 2.28), ("market", 1.70, 3.90)]
    # the market's range has no publication behind it that could be named
    assert [one.stand for one in PRICES.offer[:2]] == ["published", "assumed"]


def test_the_middle_of_a_range_is_told_as_such() -> None:
    contract, listed = PRICES.offer[0], PRICES.offer[2]
    assert bill_of(contract).source.endswith("the geometric middle of that range")
    assert bill_of(listed).source == f"{listed.told}: {listed.source}"


def test_list_prices_are_of_named_sellers_and_dated() -> None:
    listed = PRICES.offer[2:]
    assert {one.seller for one in listed} >= {"AWS", "Azure", "GCP", "CoreWeave"}
    for one in listed:
        assert one.vendor
        assert one.gpu
        assert one.stand == "published"
        assert date.fromisoformat(one.date)  # a day, not a year
        assert one.low_usd_per_gpu_h == one.high_usd_per_gpu_h


@pytest.mark.parametrize(
    ("seller", "gpu", "price"),
    [
        ("AWS", "NVIDIA H100 80GB HBM3", 6.88),
        ("GCP", "NVIDIA H200", 10.4365),
        ("DigitalOcean", "AMD Instinct MI300X", 2.59),
        (None, "NVIDIA H200", math.sqrt(1.14 * 2.28)),  # the contract's stays what is reckoned with
    ],
)
def test_a_seller_is_asked_for_by_name(seller: str | None, gpu: str, price: float) -> None:
    assert choose(PRICES, seller, gpu).middle_usd_per_gpu_h == pytest.approx(price)


def test_the_module_is_not_the_card() -> None:
    with pytest.raises(PriceError, match="is for NVIDIA H100 PCIe, only for: H100 80GB HBM3"):
        choose(PRICES, "AWS", "NVIDIA H100 PCIe")


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
    with pytest.raises(PriceError, match=r"--price: a GPU-hour costs more than \$0"):
        usable_price(price)


@pytest.mark.parametrize("price", [-1.0, 0.0, float("nan")])
def test_a_bill_needs_a_price(price: float) -> None:
    with pytest.raises(ValueError, match=r"more than \$0"):
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
    found = {one.name: one for one in block_factors(evidence_of(name), ExtrapolationOptions())}
    assert "measured" not in {one.stand for one in found.values()}
    assert found["admissible utilization"].stand == stand


def test_published_rates_are_labelled_so_and_cannot_be_counted_afresh() -> None:
    found = evidence_of("sdxl-h200")
    assert found.rate.value == pytest.approx(18.42 / 8)
    assert (found.rate.stand, found.tested_gpus) == ("published", 8)
    assert "Not measured here" in found.loud[0]
    assert evidence_of("sdxl-h200", parse_slo("p(99) < 20s")).slo.share == 0.99
    with pytest.raises(EvidenceError, match=r"published at p\(99\) < 20s"):
        evidence_of("sdxl-h200", parse_slo("p(95) < 5s"))
    with pytest.raises(EvidenceError, match="without an SLO"):
        evidence_of("flux-dev-h100", parse_slo("p(95) < 5s"))
    with pytest.raises(EvidenceError, match="there are: sdxl-h200"):
        evidence_of("sdxl-h300")
    for name in published():
        assert evidence_of(name).rate.value > 0


def test_what_other_sellers_ask_stands_beside() -> None:
    prices = _offers(
        {"seller": "contract", "low_usd_per_gpu_h": 1.0, "high_usd_per_gpu_h": 4.0},
        {"seller": "Azure", "vendor": "NVIDIA", "gpu": "H200", "low_usd_per_gpu_h": 3.6,
         "high_usd_per_gpu_h": 3.6},
        {"seller": "Acme", "vendor": "NVIDIA", "gpu": "H200", "low_usd_per_gpu_h": 1.8,
         "high_usd_per_gpu_h": 1.8, "stand": "assumed"},
        {"seller": "Red", "vendor": "AMD", "gpu": "MI300X"},
    )  # fmt: skip
    own = choose(prices, "contract", "NVIDIA H200")
    others = elsewhere(prices, "NVIDIA H200", own)
    assert [one.seller for one in others] == ["Acme", "Azure"]
    lines = bill(elsewhere=others)
    # 1,000 images of 1.425 a GPU and second: 0.195 GPU-hours
    assert lines["1,000 images, Azure"].value == pytest.approx(3.6 / 3.6 / 1.425)
    assert lines["1,000 images, Acme"].value == pytest.approx(1.8 / 3.6 / 1.425)
    assert lines["1,000 images, Acme"].stand == "assumed"
    assert "$1.8 per GPU-hour (Acme 2026, H200)" in lines["1,000 images, Acme"].why
    assert [one.seller for one in elsewhere(prices, None, None)] == ["contract"]
