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
from collections.abc import Sequence
from dataclasses import dataclass

from profiles import formats
from profiles.capacity.block import BLOCK_GPUS
from profiles.capacity.prices import Event, Offer, Power
from profiles.schema import Capacity, Stand

WEEK_DAYS = 7.0
NUMBERS = {7.0: "seven", 9.0: "nine"}
A_GPU = "what one GPU of the block does"
PEAK: Stand = "assumed"  # of the event's peak: fitted, not published
_Three = tuple[float, float, float]  # value, low, high
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
        """`1,331 GPUs (1,050 to 1,690)`, `$0.29 (0.242 to 0.346)`."""
        if self.value is None:
            return formats.UNKNOWN
        number = formats.number(self.value)
        value = f"{number} {self.unit}".strip()
        if self.unit in ("$", "%"):
            value = f"${number}" if self.unit == "$" else f"{number}%"
        if self.low is None or self.high is None:
            return value
        return f"{value} ({formats.number(self.low)} to {formats.number(self.high)})"


@dataclass(frozen=True)
class Span:
    """Images/s a GPU of the block, every factor in it: spare GPUs cost, too."""

    value: float
    low: float
    high: float
    stand: Stand  # of its weakest factor
    told: str  # what the rate of a GPU among them stands on

    def of(self, amount: float, low: float | None = None, high: float | None = None) -> _Three:
        """`amount` over it with the bounds: the higher the goodput, the less."""
        least, most = (amount if bound is None else bound for bound in (low, high))
        return amount / self.value, least / self.high, most / self.low


@dataclass(frozen=True)
class Bill:
    """What a GPU-hour costs, between two bounds, and what the price stands on."""

    usd_per_gpu_h: float
    low_usd_per_gpu_h: float
    high_usd_per_gpu_h: float
    stand: Stand
    source: str

    def of(self, span: Span, gpu_hours_times_x: float) -> _Three:
        """Dollars of what would take so many GPU-hours at 1 image/s a GPU."""
        prices = (self.usd_per_gpu_h, self.low_usd_per_gpu_h, self.high_usd_per_gpu_h)
        return span.of(*(gpu_hours_times_x * price for price in prices))


def one_price(usd_per_gpu_h: float, source: str, stand: Stand = "assumed") -> Bill:
    """A single price.

    Raises:
        ValueError: not above 0.
    """
    if not 0.0 < usd_per_gpu_h < math.inf:
        raise ValueError(f"a GPU-hour costs more than $0, got {usd_per_gpu_h:g}")
    return Bill(usd_per_gpu_h, usd_per_gpu_h, usd_per_gpu_h, stand, source)


def bill_of(offer: Offer) -> Bill:
    """An offer's price; of a range, its geometric middle."""
    is_range = offer.low_usd_per_gpu_h < offer.high_usd_per_gpu_h
    middle = "; the figure is the geometric middle of that range" if is_range else ""
    return Bill(
        offer.middle_usd_per_gpu_h,
        offer.low_usd_per_gpu_h,
        offer.high_usd_per_gpu_h,
        offer.stand,
        f"{offer.told}: {offer.source}{middle}",
    )


def table(
    capacity: Capacity,
    event: Event,
    power: Power,
    bill: Bill,
    *,
    elsewhere: Sequence[Offer] = (),
    subscriber_share: float | None = None,
    weekly_revenue_usd: float | None = None,
    gpu_energy: tuple[float, Stand] | None = None,
    gpu: str | None = None,
) -> list[Line]:
    """Users -> subscribers -> images -> GPU-hours -> dollars and power, for a block and the event.

    `gpu_energy`: J an image that the GPUs alone drew, where it is known, and how. `gpu`: the name
    of the block's GPUs, for whether the published watts are theirs. `elsewhere`: other offers for
    them, of which what 1,000 images cost is told beside.

    Raises:
        ValueError: the capacity is withheld.
    """
    if capacity.block_images_per_s is None:
        raise ValueError("no bill without a block figure")
    span = Span(
        capacity.block_images_per_s / capacity.block_gpus,
        (capacity.block_low_images_per_s or capacity.block_images_per_s) / capacity.block_gpus,
        (capacity.block_high_images_per_s or capacity.block_images_per_s) / capacity.block_gpus,
        _block_stand(capacity),
        " ".join((capacity.factors[0].name, capacity.factors[0].stand))
        if capacity.factors
        else "its rate assumed",
    )
    subscribers = None if subscriber_share is None else subscriber_share * event.users
    return [
        *_people(event, subscribers),
        *_gpus(event, span),
        *_dollars(event, span, bill, subscribers, elsewhere),
        *_revenue(event, span, bill, weekly_revenue_usd),
        *_power(power, capacity.block_gpus, span, gpu),
        *_gpu_energy(gpu_energy),
    ]


def _block_stand(capacity: Capacity) -> Stand:
    return max((one.stand for one in capacity.factors), default="assumed", key=WEAKNESS.index)


def _line(what: str, three: _Three, unit: str, stand: Stand, why: str) -> Line:
    value, low, high = three
    return Line(what, value, unit, stand, why, low, high)


def days(event: Event) -> str:
    """The event's name in every line that is about it: `the nine days`, of its file of prices."""
    return f"the {NUMBERS.get(event.days, f'{event.days:g}')} days"


def _capital(event: Event) -> str:
    name = days(event)
    return f"{name[0].upper()}{name[1:]}"


def _people(event: Event, subscribers: float | None) -> list[Line]:
    told = "B. Lightcap, 3 April 2025, self-reported"
    return [
        Line("Users of the feature", event.users, "", "published", told),
        Line(
            "Of them subscribers",
            subscribers,
            "",
            "assumed",
            "share given with --subscribers"
            if subscribers is not None
            else "nobody published it; give --subscribers SHARE",
        ),
        Line("Images", event.images, f"in {event.days:g} days", "published", told),
        Line("Images per user", event.images / event.users, "", "published", "images / users"),
        Line(
            f"Mean rate of {days(event)}",
            _mean_rate(event),
            "images/s",
            "published",
            f"images / {days(event)}",
        ),
        Line(
            f"Peak rate of {days(event)}",
            event.peak_images_per_s,
            "images/s",
            PEAK,
            "3.1 times the mean, from two Bass waves fitted to the published totals",
        ),
    ]


def _gpus(event: Event, span: Span) -> list[Line]:
    peak, mean = event.peak_images_per_s, _mean_rate(event)
    stand = span.stand
    return [
        _line(
            f"GPUs for the peak of {days(event)}", span.of(peak), "GPUs", PEAK,
            f"peak / {A_GPU}; {span.told}",
        ),
        _line(
            f"Blocks for the peak of {days(event)}", span.of(peak / BLOCK_GPUS), "blocks", PEAK,
            f"of {BLOCK_GPUS:,} GPUs",
        ),
        _line(
            f"Blocks for the mean of {days(event)}", span.of(mean / BLOCK_GPUS), "blocks", stand,
            f"mean rate / {A_GPU}, were it flat",
        ),
        _line(
            f"GPU-hours of {days(event)}", span.of(event.images / 3600.0), "GPU-hours", stand,
            f"images / {A_GPU}, throughout",
        ),
    ]  # fmt: skip


def _dollars(
    event: Event,
    span: Span,
    bill: Bill,
    subscribers: float | None,
    elsewhere: Sequence[Offer],
) -> list[Line]:
    free = event.free_images_a_day
    day = free / 3600.0
    kept = event.days * 24.0 * event.peak_images_per_s
    at = f"at ${bill.usd_per_gpu_h:.3g} per GPU-hour"
    stand = max(span.stand, bill.stand, key=WEAKNESS.index)
    used = f"{free:g} images a day each, all used"
    payers = 0.0 if subscribers is None else subscribers
    whose = "all users" if subscribers is None else "all but subscribers"
    lines = [
        Line(
            "A GPU-hour", bill.usd_per_gpu_h, "$", bill.stand, bill.source,
            *_bounds(bill),
        ),
        _line("1,000 images", bill.of(span, 1000.0 / 3600.0), "$", stand, at),
        *(_at(offer, span) for offer in elsewhere),
        _line(f"{_capital(event)}' images, GPUs busy throughout",
              bill.of(span, event.images / 3600.0), "$", stand, f"GPU-hours {at}"),
        _line(f"{_capital(event)}, the peak's GPUs kept", bill.of(span, kept), "$", PEAK,
              f"GPUs for the peak x {24.0 * event.days:g} h {at}"),
        _line("A free tier, a day for a million users", bill.of(span, day * 1e6), "$", "assumed",
              used),
        _line(f"A free tier, a day for {whose}", bill.of(span, day * (event.users - payers)), "$",
              "assumed", used),
    ]  # fmt: skip
    if subscribers:
        each = bill.of(span, event.images / 3600.0 / subscribers)
        why = "the images, GPUs busy throughout, over the subscribers"
        lines.append(
            _line(f"{_capital(event)}' images, for each subscriber", each, "$", "assumed", why)
        )
    return lines


def _at(offer: Offer, span: Span) -> Line:
    bill = bill_of(offer)
    stand = max(span.stand, bill.stand, key=WEAKNESS.index)
    cost = bill.of(span, 1000.0 / 3600.0)
    return _line(f"1,000 images, {offer.seller}", cost, "$", stand, _told(offer))


def _told(offer: Offer) -> str:
    low, high = offer.low_usd_per_gpu_h, offer.high_usd_per_gpu_h
    span = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return f"at ${span} per GPU-hour ({offer.told})"


def _revenue(event: Event, span: Span, bill: Bill, weekly_revenue_usd: float | None) -> list[Line]:
    rise = event.revenue_rise
    cost = bill.of(span, WEEK_DAYS / event.days * event.images / 3600.0)
    kept = bill.of(span, WEEK_DAYS * 24.0 * event.peak_images_per_s)
    lines = [
        _line(f"Cloud cost of a week of {days(event)}", cost, "$", "assumed",
              "7 of the 9 days' images, GPUs busy throughout"),
        _line(f"A week of {days(event)}, the peak's GPUs kept", kept, "$", PEAK,
              "GPUs for the peak x 168 h"),
        Line("In-app revenue rose by", 100.0 * rise, "%", "published",
             "Sensor Tower: week of 24 March 2025 over the week before"),
        _line("Weekly in-app revenue at which the rise pays it", _over(cost, rise), "$", "assumed",
              f"cloud cost of a week / {100.0 * rise:g}%"),
    ]  # fmt: skip
    if weekly_revenue_usd is None:
        why = "nobody published the revenue; give --weekly-revenue USD"
        return [*lines, Line("The week's rise in revenue", None, "$", "assumed", why)]
    gained = rise * weekly_revenue_usd
    return [
        *lines,
        Line("The week's rise in revenue", gained, "$", "assumed", "given with --weekly-revenue"),
        _line("Cloud cost over it", _over(cost, gained), "times", "assumed", "cost / rise"),
    ]


def _over(three: _Three, amount: float) -> _Three:
    value, low, high = three
    return value / amount, low / amount, high / amount


def _power(power: Power, gpus: int, span: Span, gpu: str | None) -> list[Line]:
    own = gpu is not None and power.gpu in gpu
    stand: Stand = power.stand if own else "assumed"
    source = power.source if own else f"{power.source}; taken for {gpu or 'other GPUs'} too"
    weakest = max(span.stand, stand, key=WEAKNESS.index)
    mw, kwh = gpus * power.gpu_w / 1e6, 1000.0 * power.gpu_w / 3.6e6
    return [
        Line(
            f"{gpus:,} GPUs draw", mw * power.pue, "MW", stand, source,
            mw * power.pue_low, mw * power.pue_high,
        ),
        _line(
            "1,000 images draw", span.of(*(kwh * pue for pue in power.pues)), "kWh", weakest,
            "power of a GPU and its share of the node, times PUE, over its images: gross",
        ),
    ]  # fmt: skip


def _gpu_energy(told: tuple[float, Stand] | None) -> list[Line]:
    if told is None:
        return []
    joules, stand = told
    why = "the GPUs alone over their load, gross: neither node nor building"
    return [Line("1,000 images draw in GPUs", 1000.0 * joules / 3.6e6, "kWh", stand, why)]


def _bounds(bill: Bill) -> tuple[float | None, float | None]:
    if bill.low_usd_per_gpu_h == bill.high_usd_per_gpu_h:
        return None, None
    return bill.low_usd_per_gpu_h, bill.high_usd_per_gpu_h


def _mean_rate(event: Event) -> float:
    return event.images / event.days / 86_400.0
