"""What was made beside how full the GPUs were: tracks on one time axis. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.record.columns import Gpu, Recorded
from profiles.report.charts import device_series, events, svg, timeline
from profiles.report.charts.events import Mark
from profiles.report.charts.panel import Key, Panel, curve, load_end, phases, step, time_axis, top
from profiles.report.charts.svg import MEDIUM, NARROW, WIDE, Axis, Layer
from profiles.report.charts.timeline import Timeline
from profiles.report.text import limits as limit_text
from profiles.requests.attempts import Counted
from profiles.schema import Outcome
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.telemetry.flop_limits import devices_in_use
from profiles.telemetry.phases import TERA

TRACK_PX = 128  # high, with the room for the numbers below
MAX_BINS = 240
WORK = "An image, and its FLOP, count where it was done."
TENSOR = (
    " Tensor activity, the share of time in tensor operations, counts while the image was made. "
    "Where its shape is not that of TFLOP/s, work came to nothing, or the tensor pipes were busy "
    "for little."
)


@dataclass(frozen=True)
class Track:
    """One plot of the stack."""

    title: str
    layers: list[Layer]
    high: float


def work_panel(
    recorded: Recorded,
    gpus: Sequence[Gpu],
    time: Timeline,
    befell: Sequence[Mark],
    counted: Counted,
) -> Panel | None:
    """Images/s, TFLOP/s and tensor-pipe activity; None if neither of the last two is known.

    Marks of what befell are named here, so they call for the panel too.
    """
    rates = timeline.image_rates(counted, time)
    tracks = [
        Track(
            "images/s",
            [step(time, rates["offered"], "c-offered", "area"),
             step(time, rates["completed"], "c-ok", width=2.0)],
            top(rates["offered"], rates["completed"]),
        )
    ]  # fmt: skip
    keys = [Key("images offered", "c-offered", "box"), Key("images completed", "c-ok")]
    tflops = achieved(recorded, time, counted)
    if tflops is not None:
        word = limit_text.device_word(recorded.manifest)
        tracks.append(
            Track(f"TFLOP/s per {word}", [step(time, tflops, "c-sent", width=2.0)], top(tflops))
        )
        keys.append(Key("TFLOP/s of the completed", "c-sent"))
    tensor = _tensor(recorded, gpus, time)
    if tensor is not None:
        tracks.append(tensor)
        of = f" of {len(gpus)}" if len(gpus) > 1 else ""
        keys += [Key("tensor pipe, median", "c-g3"), Key(f"least to most{of}", "c-tensor", "box")]
    if len(tracks) == 1 and not befell:
        return None
    pictures = [_picture(tracks, time, befell, size[0]) for size in (NARROW, MEDIUM, WIDE)]
    return Panel(
        "work",
        "Work done, and how full the GPUs were" if tensor else "Work done",
        "",
        WORK + (TENSOR if tensor else ""),
        keys + events.keys(befell),
        pictures[0],
        medium=pictures[1],
        wide=pictures[2],
    )


def achieved(recorded: Recorded, time: Timeline, counted: Counted) -> Floats | None:
    """TFLOP/s a device of the ok images done in each bin; NaN where one did not tell its FLOP.

    None where no image told it, or the number of devices is not known.
    """
    requests, devices = counted.requests, devices_in_use(recorded.manifest)
    ok = requests.where(Outcome.OK)
    flop, done_s = requests.flop[ok], requests.done_s[ok]
    if not devices or not (~np.isnan(flop)).any():
        return None
    silent = arrays.binned_sum(done_s, np.isnan(flop).astype(np.float64), time.edges)
    done = arrays.binned_sum(done_s, flop, time.edges) / np.diff(time.edges) / devices / TERA
    rates = timeline.image_rates(counted, time)["completed"]
    return np.where((silent > 0) | np.isnan(rates), np.nan, done)


def _tensor(recorded: Recorded, gpus: Sequence[Gpu], time: Timeline) -> Track | None:
    edges = timeline.fine_edges(time, MAX_BINS)
    zero_s = recorded.manifest.load_start_s or 0.0
    least, median, most = device_series.quantiles(gpus, "tensor_pct", zero_s, edges)
    if np.isnan(median).all():
        return None
    fine = Timeline(edges, time.load_end_s, time.planned_t_s, time.planned_images_per_s)
    lines = curve(fine, median, "c-g3", width=2.0)
    band = Layer("area", "c-g3", lines[0].x, most, base=least, opacity=0.25)
    return Track("tensor pipe, % of the time", [band, *lines], min(100.0, top(most)))


def _picture(tracks: Sequence[Track], time: Timeline, befell: Sequence[Mark], width_px: int) -> str:
    """The plots as SVGs one below the other; the first has the names, the last the numbers."""
    size = (width_px, TRACK_PX)
    axis, _ = time_axis(time)
    named = phases(time, size)
    silent = [svg.Band(band.low, band.high, band.colour) for band in named]
    plots = []
    for place, track in enumerate(tracks):
        first, last = place == 0, place == len(tracks) - 1
        plots.append(
            svg.svg(
                track.layers,
                axis if last else Axis("", axis.low, axis.high, numbers=False),
                Axis(track.title, 0.0, track.high),
                about=f"{track.title} over time",
                rules=load_end(time) + events.rules(befell, time),
                bands=named if first else silent,
                notes=events.notes(befell, time, size) if first else (),
                size=size,
            )
        )
    return "".join(plots)
