"""docs/ghibli.md: every figure of its prose, computed again (its consoles: test_docs.py)."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from loadtest.plan.plan import demand
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import parse_scenario, scenario_text
from profiles.capacity.bill import Line, one_price, table
from profiles.capacity.block import ExtrapolationOptions, extrapolate
from profiles.capacity.prices import built_in
from profiles.capacity.published import evidence_of

PAGE = (Path(__file__).parents[2] / "docs" / "ghibli.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.replace("**", "").split())
CONSOLES = [
    command
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for command in re.findall(r"\$ viralload (.*)\n((?:[^$].*\n)+)", block)
]


def lines(name: str) -> dict[str, Line]:
    prices = built_in()
    found = extrapolate(evidence_of(name), ExtrapolationOptions(price_usd_per_gpu_h=2.28))
    told = table(found, prices.event, prices.power, one_price(2.28, "told"))
    return {one.what: one for one in told}


def value(name: str, what: str) -> float:
    found = lines(name)[what].value
    assert found is not None
    return found


def test_both_rates_and_both_kinds_of_arrivals_are_shown() -> None:
    assert len(CONSOLES) == 4


def test_bursts_leave_two_thirds_and_add_half_to_the_gpus() -> None:
    goodputs = [float(re.split(r"[: ]+", shown)[2].replace(",", "")) for _, shown in CONSOLES[1:3]]
    assert goodputs[1] / goodputs[0] == pytest.approx(2 / 3, abs=0.03)
    assert goodputs[0] / goodputs[1] == pytest.approx(1.5, abs=0.05)


def event_peak(name: str) -> float:
    text, folder = scenario_text(name)
    scenario = parse_scenario(text)
    found = demand(scenario, load_source(scenario, folder))
    assert found is not None
    return found.peak_images_per_s


SDXL, FLUX = "sdxl-h200", "flux-dev-h100"
A_GPU = 0.95 * 18.42 / 8  # images/s with spare
HOUR_PEAK = event_peak("ghibli-hour")


THE_PEAK = "GPUs for the peak of the nine days"
BUSY = "The nine days' images, GPUs busy throughout"
KEPT = "The nine days, the peak's GPUs kept"
WEEK = "Cloud cost of a week of the nine days"
PAID = "Weekly in-app revenue at which the rise pays it"
AN_IMAGE_S = 95_000 / 2800  # of a block with 5% spare

SENTENCES = [  # of the page, with what stands in them
    ("{:.0f} images/s on average", 700e6 / 9 / 86400),
    ("{:.2f} images each", 700 / 130),
    ("{:.0f} sign-ups/s", 1e6 / 3600),
    ("inside it, {:.0f} images/s", 3e6 / 3600),
    (
        "peaks at {:,.0f} images/s, {:.1f} times its mean, and takes {:.0f} of them at that peak",
        HOUR_PEAK,
        HOUR_PEAK / (3e6 / 3600),
        math.ceil(HOUR_PEAK / A_GPU),
    ),
    ("at its mean {:.0f} would do", 3e6 / 3600 / A_GPU),
    ("{:.1f} times the mean", 2800 / (700e6 / 9 / 86400)),
    ("{:.1f} images/s of SDXL", 18.42 / 8),
    ("20 s are {:.0f} services of slack", 20 * 18.42 / 8),
    (
        "{:,.0f} H200, between {:,.0f} and {:,.0f}: {:.1f}% of one block",
        value(SDXL, THE_PEAK),
        lines(SDXL)[THE_PEAK].low,
        lines(SDXL)[THE_PEAK].high,
        100 * value(SDXL, "Blocks for the peak of the nine days"),
    ),
    (
        "{:,.0f} GPU-hours, {:.2f} million dollars",
        value(SDXL, "GPU-hours of the nine days"),
        value(SDXL, BUSY) / 1e6,
    ),
    ("cost {:.2f} million", value(SDXL, KEPT) / 1e6),
    ("{:.0f} times as many", value(FLUX, THE_PEAK) / value(SDXL, THE_PEAK)),
    ("{:.1f} GPU-seconds on an image", AN_IMAGE_S),
    ("{:.0f} times SDXL's {:.3f}", AN_IMAGE_S * 18.42 / 8, 8 / 18.42),
    ("costs {:.2f} million dollars at the SDXL rate", value(SDXL, WEEK) / 1e6),
    ("{:.1f} million at FLUX's", value(FLUX, WEEK) / 1e6),
    ("brings in {:.1f} or {:.0f} million", value(SDXL, PAID) / 1e6, value(FLUX, PAID) / 1e6),
]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda one: one[0])
def test_the_prose(sentence: tuple[Any, ...]) -> None:
    words, *numbers = sentence
    assert words.format(*numbers) in PROSE


def test_the_interval_moves_the_answer_by_a_fifth() -> None:
    peak = lines(SDXL)[THE_PEAK]
    assert peak.value is not None
    assert peak.high is not None
    assert peak.high / peak.value == pytest.approx(1.2, abs=0.02)
