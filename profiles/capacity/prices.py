"""Prices, power and the event's facts: prices.toml, which is meant to be edited.

PriceError
    the file cannot be read, or says what cannot be; the text names the entry
"""

import math
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from profiles.schema import Stand

FILE = Path(__file__).with_name("prices.toml")
Positive = Annotated[float, msgspec.Meta(gt=0)]
Words = Annotated[str, msgspec.Meta(min_length=1)]


class PriceError(ValueError):
    """Prices that cannot be; the text says which entry and what it needs."""


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a GPU-hour costs somewhere; None is not known."""

    seller: Words
    vendor: str | None = None
    gpu: str | None = None
    date: Words
    low_usd_per_gpu_h: Positive
    high_usd_per_gpu_h: Positive
    stand: Stand
    source: Words

    @property
    def middle_usd_per_gpu_h(self) -> float:
        """The geometric middle of low and high."""
        return math.sqrt(self.low_usd_per_gpu_h * self.high_usd_per_gpu_h)

    def fits(self, gpu: str | None) -> bool:
        """Whether it is for a GPU of that name (None: unknown), or for every one."""
        return self.gpu is None or (gpu is not None and self.gpu in gpu)

    @property
    def told(self) -> str:
        """`contract 2025-04, GPU not told`."""
        return f"{self.seller} {self.date}, {self.gpu or 'GPU not told'}"


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Watts of a GPU with its share of the node, and of the building around it."""

    gpu: Words  # whose watts they are, as in the names of GPUs
    gpu_w: Positive
    pue_low: Annotated[float, msgspec.Meta(ge=1)]
    pue_high: Annotated[float, msgspec.Meta(ge=1)]
    stand: Stand = "assumed"  # of the watts and the PUE, for that GPU
    source: Words

    @property
    def pue(self) -> float:
        """The geometric middle of low and high."""
        return math.sqrt(self.pue_low * self.pue_high)

    @property
    def pues(self) -> tuple[float, float, float]:
        """Middle, low and high."""
        return self.pue, self.pue_low, self.pue_high


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The published event."""

    users: Positive
    images: Positive
    days: Positive
    peak_images_per_s: Positive
    newcomers_in_the_hour: Positive
    free_images_a_day: Positive
    revenue_rise: Positive
    source: Words


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    offer: list[Offer]
    power: Power
    event: Event


def read_prices(path: Path = FILE) -> Prices:
    """The prices of a file.

    Raises:
        PriceError: unreadable, an unknown or missing key, a price not above 0, low above high.
    """
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # as some editors begin a file
        found = msgspec.toml.decode(text, type=Prices)
    except UnicodeDecodeError as err:
        raise PriceError(f"{path} is not UTF-8 text: save it as UTF-8") from err
    except (OSError, msgspec.DecodeError, RecursionError) as err:
        raise PriceError(f"{path}: {err}") from err
    for place, offer in enumerate(found.offer):
        if offer.low_usd_per_gpu_h > offer.high_usd_per_gpu_h:
            raise PriceError(
                f"{path}: offer[{place}] ({offer.seller}): low_usd_per_gpu_h is above high"
            )
    if found.power.pue_low > found.power.pue_high:
        raise PriceError(f"{path}: power: pue_low is above pue_high")
    return found


def choose(prices: Prices, seller: str | None = None, gpu: str | None = None) -> Offer:
    """The offer to reckon with: of a seller (None: the file's first that fits), for a GPU.

    An offer that names a GPU is for no other; one that names none is for all. A seller's offer for
    the very GPU goes before one for all, and of several the latest.

    Args:
        prices: What is known.
        seller: As the file spells it.
        gpu: The name of the GPU that was measured, such as "NVIDIA H200"; None: unknown.

    Raises:
        PriceError: no offer at all, none of that seller, or none of it for that GPU.
    """
    add = "Add one to a copy of profiles/capacity/prices.toml and name it with --prices FILE"
    if not prices.offer:
        raise PriceError("no price is known: give --price, or an [[offer]] in the file of --prices")
    named = [one for one in prices.offer if seller in (None, one.seller)]
    if not named:
        sellers = ", ".join(sorted({one.seller for one in prices.offer}))
        raise PriceError(f"no offer of {seller!r} is known; there are: {sellers}. {add}")
    fits = [one for one in named if one.fits(gpu)]
    if not fits:
        theirs = ", ".join(sorted({str(one.gpu) for one in named}))
        raise PriceError(
            f"no offer{f' of {seller!r}' if seller else ''} is for {gpu or 'an unknown GPU'}, only "
            f"for: {theirs}. {add}"
        )
    if seller is None:
        return fits[0]
    return max(fits, key=lambda one: (one.gpu is not None, one.date))


def elsewhere(prices: Prices, gpu: str | None, but: Offer | None) -> list[Offer]:
    """The latest offer for that GPU of each seller, cheapest first, without the one reckoned with.

    Offers that do not say for which GPU they are come in too, as in `choose`.
    """
    sellers = dict.fromkeys(one.seller for one in prices.offer if one.fits(gpu))
    offers = [choose(prices, seller, gpu) for seller in sellers]
    return sorted((one for one in offers if one != but), key=lambda one: one.middle_usd_per_gpu_h)


@cache
def built_in() -> Prices:
    """The prices that come along."""
    return read_prices()


def usable_price(text: str) -> float:
    """`2.35`: $ a GPU-hour.

    Raises:
        PriceError: no number, or not above 0.
    """
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0.0 < price < math.inf:
        raise PriceError(f"--price: a GPU-hour costs more than $0, got {text!r}")
    return price
