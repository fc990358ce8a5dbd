"""From users to images to GPU-hours to dollars, each line with what it stands on. Pure.

    $ per 1000 images    = 1000 price / (3600 x)        x: images/s a GPU of the block
    kWh per 1000 images  = 1000 W PUE / (3.6e6 x)       W: a GPU with its share of the node
    MW a block           = N W PUE / 1e6
    blocks for the week  = images / (days 86400) / C    were the week flat; the peak needs more
    free tier            = images a day x users a day x $ an image
    break-even revenue   = cloud cost of the event / rise of revenue

What is not known (in-app revenue, how many subscribe) is asked for, or left open.
"""

import math
from dataclasses import dataclass

from profiles import figures
from profiles.prices import Event, Power
from profiles.schema import Capacity, Stand

WEEK_DAYS = 7.0
PEAK: Stand = "assumed"  # of the event's peak: fitted, not published
WEAKNESS: tuple[Stand, ...] = ("measured", "published", "assumed")  # a line is as weak as its parts


@dataclass(frozen=True)
class Line:
    """A line of the table: what, how much, and what it stands on; None is not known."""

    what: str
    value: float | None
    unit: str
    stand: Stand
    why: str
    low: float | None = None
    high: float | None = None

    @property
    def told(self) -> str:
        """`1,331 GPUs (1,050 to 1,690)`."""
        if self.value is None:
            return figures.UNKNOWN
        value = f"{figures.number(self.value)} {self.unit}".strip()
        if self.low is None or self.high is None:
            return value
        return f"{value} ({figures.number(self.low)} to {figures.number(self.high)})"


@dataclass(frozen=True)
class Bill:
    """What a GPU-hour costs, between two bounds, and what the price stands on."""

    usd_per_gpu_h: float
    low_usd_per_gpu_h: float
    high_usd_per_gpu_h: float
    stand: Stand
    source: str


def one_price(usd_per_gpu_h: float, source: str, stand: Stand = "assumed") -> Bill:
    """A single price.

    Raises:
        ValueError: not above 0.
    """
    if not 0.0 < usd_per_gpu_h < math.inf:
        raise ValueError(f"a GPU-hour costs more than 0 $, got {usd_per_gpu_h:g}")
    return Bill(usd_per_gpu_h, usd_per_gpu_h, usd_per_gpu_h, stand, source)


def table(
    capacity: Capacity,
    event: Event,
    power: Power,
    bill: Bill,
    *,
    subscriber_share: float | None = None,
    weekly_revenue_usd: float | None = None,
    gpu_energy: tuple[float, Stand] | None = None,
) -> list[Line]:
    """Users -> subscribers -> images -> GPU-hours -> dollars and power, for a block and the event.

    `gpu_energy`: J an image that the GPUs alone drew, where it is known, and how.

    Raises:
        ValueError: the capacity is withheld.
    """
    if capacity.block_images_per_s is None:
        raise ValueError("no bill without a block figure")
    block = capacity.block_images_per_s
    low = capacity.block_low_images_per_s or block
    high = capacity.block_high_images_per_s or block
    gpus = capacity.block_gpus
    measured: Stand = capacity.factors[0].stand if capacity.factors else "assumed"
    return [
        *_people(event, subscriber_share),
        *_gpus(event, gpus, (block, low, high), measured),
        *_dollars(event, gpus, (block, low, high), bill, measured),
        *_revenue(event, gpus / block, bill, weekly_revenue_usd),
        *_power(power, gpus, (block, low, high), measured),
        *_gpu_energy(gpu_energy),
    ]


def _people(event: Event, subscriber_share: float | None) -> list[Line]:
    told = "B. Lightcap, 3 April 2025, self-reported"
    subscribers = None if subscriber_share is None else subscriber_share * event.users
    return [
        Line("Users of the feature", event.users, "", "published", told),
        Line(
            "Of them subscribers",
            subscribers,
            "",
            "assumed",
            "share given with --subscribers"
            if subscriber_share is not None
            else "nobody published it; give --subscribers SHARE",
        ),
        Line("Images", event.images, f"in {event.days:g} days", "published", told),
        Line("Images a user", event.images / event.users, "", "published", "images / users"),
        Line("Mean rate", _mean_rate(event), "images/s", "published", "images / nine days"),
        Line(
            "Peak rate",
            event.peak_images_per_s,
            "images/s",
            PEAK,
            "3.1 times the mean, from two Bass waves fitted to the published totals",
        ),
    ]


def _gpus(event: Event, gpus: int, block: tuple[float, float, float], stand: Stand) -> list[Line]:
    peak, mean = event.peak_images_per_s, _mean_rate(event)
    return [
        _line("GPUs for the peak", peak * gpus, block, "GPUs", PEAK, "peak / goodput a GPU"),
        _line("Blocks for the peak", peak, block, "blocks", PEAK, "peak / block"),
        _line("Blocks for the week", mean, block, "blocks", stand, "mean / block, were it flat"),
        _line(
            "GPU-hours of the event",
            event.images * gpus / 3600.0,
            block,
            "GPU-hours",
            stand,
            "images / goodput a GPU, busy throughout",
        ),
    ]


def _dollars(
    event: Event, gpus: int, block: tuple[float, float, float], bill: Bill, stand: Stand
) -> list[Line]:
    thousand = 1000.0 * gpus / 3600.0
    free = event.free_images_a_day
    day = free * 1e6 * gpus / 3600.0
    hours = event.days * 24.0 * event.peak_images_per_s * gpus
    why = f"at {bill.usd_per_gpu_h:.3g} $ a GPU-hour"
    stand = max(stand, bill.stand, key=WEAKNESS.index)
    return [
        Line(
            "A GPU-hour", bill.usd_per_gpu_h, "$", bill.stand, bill.source,
            *_bounds(bill),
        ),
        _priced("1,000 images", thousand, block, bill, stand, why),
        _priced("The event's images, GPUs busy throughout", event.images * gpus / 3600.0, block,
                bill, stand, f"GPU-hours {why}"),
        _priced("The event, the peak's GPUs kept for nine days", hours, block, bill, stand,
                f"GPUs for the peak x 216 h {why}"),
        _priced("A free tier, a day for a million users", day, block, bill, stand,
                f"{free:g} images a day each, all used"),
        _priced("A free tier, a day for all users", day * event.users / 1e6, block, bill, stand,
                f"{free:g} images a day each, all used"),
    ]  # fmt: skip


def _revenue(
    event: Event, gpus_per_rate: float, bill: Bill, weekly_revenue_usd: float | None
) -> list[Line]:
    week = WEEK_DAYS / event.days * event.images
    cost = week * gpus_per_rate / 3600.0 * bill.usd_per_gpu_h
    rise = event.revenue_rise
    lines = [
        Line("Cloud cost of a week of it", cost, "$", "assumed", "7 of the 9 days' images"),
        Line(
            "Weekly in-app revenue at which the rise pays it",
            cost / rise,
            "$",
            "assumed",
            f"cost / {100 * rise:g} % (published rise: Sensor Tower)",
        ),
    ]
    if weekly_revenue_usd is None:
        why = "the revenue itself is not published; give --weekly-revenue USD"
        return [*lines, Line("The week's rise in revenue", None, "$", "published", why)]
    gained = rise * weekly_revenue_usd
    return [
        *lines,
        Line("The week's rise in revenue", gained, "$", "assumed", "given with --weekly-revenue"),
        Line("Cloud cost over it", cost / gained, "times", "assumed", "cost / rise"),
    ]


def _power(power: Power, gpus: int, block: tuple[float, float, float], stand: Stand) -> list[Line]:
    w = power.gpu_w
    mw = gpus * w * power.pue / 1e6
    weakest = max(stand, "published", key=WEAKNESS.index)
    kwh = 1000.0 * w * gpus / 3.6e6
    value, low, high = block
    return [
        Line(
            "A block draws", mw, "MW", "published", power.source,
            gpus * w * power.pue_low / 1e6, gpus * w * power.pue_high / 1e6,
        ),
        Line(
            "1,000 images draw", kwh * power.pue / value, "kWh", weakest,
            "power of a GPU and its share of the node, times PUE, over its images: gross",
            kwh * power.pue_low / high, kwh * power.pue_high / low,
        ),
    ]  # fmt: skip


def _gpu_energy(told: tuple[float, Stand] | None) -> list[Line]:
    if told is None:
        return []
    joules, stand = told
    why = "the GPUs alone over their load, gross: neither node nor building"
    return [Line("1,000 images draw in GPUs", 1000.0 * joules / 3.6e6, "kWh", stand, why)]


def _line(
    what: str, amount: float, block: tuple[float, float, float], unit: str, stand: Stand, why: str
) -> Line:
    """`amount` over the block's goodput: the higher that is, the less."""
    value, low, high = block
    return Line(what, amount / value, unit, stand, why, amount / high, amount / low)


def _priced(
    what: str,
    gpu_hours_times_block: float,
    block: tuple[float, float, float],
    bill: Bill,
    stand: Stand,
    why: str,
) -> Line:
    value, low, high = block
    return Line(
        what,
        gpu_hours_times_block * bill.usd_per_gpu_h / value,
        "$",
        stand,
        why,
        gpu_hours_times_block * bill.low_usd_per_gpu_h / high,
        gpu_hours_times_block * bill.high_usd_per_gpu_h / low,
    )


def _bounds(bill: Bill) -> tuple[float | None, float | None]:
    if bill.low_usd_per_gpu_h == bill.high_usd_per_gpu_h:
        return None, None
    return bill.low_usd_per_gpu_h, bill.high_usd_per_gpu_h


def _mean_rate(event: Event) -> float:
    return event.images / event.days / 86_400.0
