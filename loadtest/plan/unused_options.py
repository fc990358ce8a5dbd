"""Options that say something about what a scenario does not have: refused, never ignored. Pure."""

from loadtest.errors import ConfigurationError
from loadtest.plan.plan import compression, needs_capacity
from loadtest.plan.source import Source
from loadtest.scenario.scenario import Scenario
from loadtest.traffic.recorded import Arrivals
from loadtest.units import format_duration


def check_scenario(told: tuple[str, ...], scenario: Scenario, source: Source) -> None:
    """Of `run` and `plan`: does the scenario have what the options speak of?

    Args:
        told: The options that were given.
        scenario: With what they changed.
        source: Its curve or trace.

    Raises:
        ConfigurationError: An option would change nothing.
    """
    peak, shape = scenario.load.peak, source.shape
    if "capacity" in told and not needs_capacity(scenario):
        raise ConfigurationError(
            f"--capacity: a peak such as 1.5x refers to it, and this one is {_peak(peak)}; give "
            "--peak 1.5x, or leave it out"
        )
    if "gpus" in told and peak != "share":
        raise ConfigurationError(
            f'--gpus: a peak of "share" refers to them, and this one is {_peak(peak)}; give '
            "--peak share, or leave it out"
        )
    # A trace of arrivals plays a stretch of so long at real speed instead.
    if "compress_to" in told and compression(scenario, source) <= 1.0 and not source.window:
        raise ConfigurationError(
            f"--compress-to: the load lasts {format_duration(source.duration_s)} as it is, so "
            "there is nothing to compress; give less, or leave it out"
        )
    rows = shape.asks if isinstance(shape, Arrivals) else {}
    for name, column in (("size", "width"), ("steps", "steps")):
        if name in told and column in rows:
            raise ConfigurationError(
                f"--{name}: each row of the trace tells its own {name}, and that is what is asked "
                "for; leave it out"
            )


def _peak(peak: float | str | None) -> str:
    if peak is None:
        return "the curve's own"
    return f'"{peak}"' if isinstance(peak, str) else f"{peak:g} images/s"
