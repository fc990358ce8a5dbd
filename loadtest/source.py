"""The shape of a scenario's load, before any peak or compression: its curve, or its trace."""

from pathlib import Path

import msgspec

from loadtest import crowd
from loadtest.curve import Curve, peak_rate, total
from loadtest.errors import ScenarioError
from loadtest.scenario import Scenario, TraceFile, image_weights
from loadtest.trace import Arrivals, read_trace
from loadtest.units import format_duration


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the load in real time, and what one of its arrivals means in images."""

    shape: Curve | Arrivals
    images_per_arrival: float
    how: str  # how it was read, for people
    images_per_request: float = 1.0

    @property
    def duration_s(self) -> float:
        """Seconds of real time."""
        return self.shape.duration_s

    @property
    def peak_images_per_s(self) -> float:
        """At full size; of a trace of arrivals, the busiest of 60 equal parts."""
        if isinstance(self.shape, Arrivals):
            return self.shape.peak_per_s() * self.images_per_arrival
        return peak_rate(self.shape) * self.images_per_arrival

    @property
    def images(self) -> float:
        """Expected images over the whole, at full size."""
        count = self.shape.times_s.size if isinstance(self.shape, Arrivals) else total(self.shape)
        return count * self.images_per_arrival


def load_source(scenario: Scenario, folder: Path) -> Source:
    """The scenario's curve, or its trace read from `folder`.

    Raises:
        TraceError: the trace cannot be replayed.
        ScenarioError: the curve is 0 everywhere.
    """
    curve = scenario.curve
    mean = mean_images(scenario)
    per_person = scenario.event.images_per_person if scenario.event else None
    source: Source
    if isinstance(curve, TraceFile):
        path = folder / curve.file
        shape = read_trace(path, curve, scenario.seed)
        if isinstance(shape, Arrivals):
            rows = f"{shape.times_s.size:,} arrivals"
            if scenario.session is not None:  # an arrival is a person, who asks as [session] says
                rows += " of people" + (", what rows ask for left out" if shape.asks else "")
                if "user" in shape.asks:
                    rows += ", each a person with limits of their own whatever its user"
                shape = Arrivals(shape.times_s)
            elif "images" in shape.asks:
                mean = float(shape.asks["images"].mean())
        else:
            rows = f"{len(shape.rates_per_s):,} bins"
        source = Source(
            shape=shape,
            images_per_arrival=per_person or mean,
            how=f"trace {path.name}: {rows} over {format_duration(shape.duration_s)}",
            images_per_request=mean,
        )
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


def mean_images(scenario: Scenario) -> float:
    """Images an arrival, on average: of a request, or of a person where people are played."""
    weights = image_weights(scenario.request)
    if scenario.session is not None:
        return crowd.images_a_person(scenario.session, weights)
    return sum(n * w for n, w in weights.items()) / sum(weights.values())
