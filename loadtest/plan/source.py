"""The shape of a scenario's load, before any peak or compression: its curve, or its trace."""

from pathlib import Path

import msgspec

from loadtest.errors import ScenarioError
from loadtest.scenario import session
from loadtest.scenario.scenario import Scenario, TraceFile, image_weights
from loadtest.traces.trace import ASKED_FOR, Reading, read
from loadtest.traffic.curve import Bins, Curve, peak_rate, total
from loadtest.traffic.recorded import Arrivals
from loadtest.traffic.statistics import peak_of_bins
from loadtest.traffic.trace_window import Stretch, cut
from loadtest.units import format_duration


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the load in real time, and what one of its arrivals means in images."""

    shape: Curve | Arrivals
    images_per_arrival: float
    how: str  # how it was read, for people
    images_per_request: float = 1.0
    recorded: Arrivals | Bins | None = None  # of a trace: all of it, where `shape` is a stretch
    window: str | None = None  # which stretch, in words
    said: tuple[str, ...] = ()  # what the trace's rows and columns were taken for

    @property
    def duration_s(self) -> float:
        """Seconds of real time."""
        return self.shape.duration_s

    @property
    def peak_images_per_s(self) -> float:
        """At full size; of a trace, in its busiest part that holds enough arrivals to tell."""
        return self._peak(self.shape)

    @property
    def images(self) -> float:
        """Expected images over the whole, at full size."""
        return self._images(self.shape)

    def of_event(self) -> "Source":
        """The same of the whole trace, whatever stretch of it is played."""
        return msgspec.structs.replace(self, shape=self.recorded or self.shape)

    def _peak(self, shape: Curve | Arrivals) -> float:
        if isinstance(shape, Arrivals):
            return shape.peak_per_s() * self.images_per_arrival
        if isinstance(shape, Bins) and self.recorded is not None:
            return peak_of_bins(shape)[0] * self.images_per_arrival
        return peak_rate(shape) * self.images_per_arrival

    def _images(self, shape: Curve | Arrivals) -> float:
        count = shape.times_s.size if isinstance(shape, Arrivals) else total(shape)
        return count * self.images_per_arrival


def load_source(scenario: Scenario, folder: Path, whole: bool = False) -> Source:
    """The scenario's curve, or its trace read from `folder`.

    A trace of arrivals that `compress_to` would squeeze is not: its arrivals would be thinned to
    keep its rate, and its bursts with them. Its busiest stretch of that length stands for it, at
    real speed, unless `whole` is asked for.

    Raises:
        TraceError: the trace cannot be replayed.
        ScenarioError: the curve is 0 everywhere.
    """
    curve = scenario.curve
    mean = mean_images(scenario)
    per_person = scenario.event.images_per_person if scenario.event else None
    if isinstance(curve, TraceFile):
        source = _of_trace(scenario, curve, folder, mean, per_person, whole)
    else:
        source = Source(
            shape=curve,
            images_per_arrival=per_person or 1.0,
            how=f"curve {curve.__struct_config__.tag} over {format_duration(curve.duration_s)}",
            images_per_request=mean,
        )
    if not source.peak_images_per_s > 0:
        raise ScenarioError("scenario: $.curve: its rate is 0 throughout")
    return source


def _of_trace(
    scenario: Scenario,
    trace: TraceFile,
    folder: Path,
    mean: float,
    per_person: float | None,
    whole: bool,
) -> Source:
    path = folder / trace.file
    reading = read(path, trace, scenario.seed)
    if not whole:
        reading = _stretched(reading, scenario.load.compress_to)
    shape, recorded, said = reading.shape, reading.whole, reading.said
    rows = ""
    if isinstance(shape, Arrivals) and isinstance(recorded, Arrivals):
        rows = f"{shape.times_s.size:,} arrivals"
        if scenario.session is not None:  # an arrival is a person, who asks as [session] says
            rows += " of people" + (", what rows ask for left out" if shape.asks else "")
            if "user" in shape.asks:
                rows += ", each a person with limits of their own whatever its user"
            shape = Arrivals(shape.times_s, {}, shape.span_s)
            recorded = Arrivals(recorded.times_s)
            said = tuple(line for line in said if not line.startswith(ASKED_FOR))
        elif "images" in shape.asks:
            told = shape.asks["images"]
            # rows that do not tell ask for what the scenario says
            mean = float((told.sum() + mean * (told == 0).sum()) / told.size)
    elif isinstance(shape, Bins):
        rows = f"{len(shape.rates_per_s):,} bins"
    return Source(
        shape=shape,
        images_per_arrival=per_person or mean,
        how=f"trace {path.name}: {rows} over {format_duration(shape.duration_s)}",
        images_per_request=mean,
        recorded=recorded,
        window=reading.window,
        said=said,
    )


def _stretched(reading: Reading, compress_to: float | None) -> Reading:
    """The busiest stretch of so long, of arrivals that would have to be compressed to it."""
    shape = reading.shape
    if not isinstance(shape, Arrivals) or compress_to is None or reading.window is not None:
        return reading
    if shape.duration_s <= compress_to:
        return reading
    part, words = cut(shape, Stretch(compress_to))
    words += ", at real speed in place of all of it compressed, which would thin its bursts out"
    return msgspec.structs.replace(reading, shape=part, window=words)


def mean_images(scenario: Scenario) -> float:
    """Images an arrival, on average: of a request, or of a person where people are played."""
    weights = image_weights(scenario.request)
    if scenario.session is not None:
        return session.images_a_person(scenario.session, weights)
    return sum(n * w for n, w in weights.items()) / sum(weights.values())
