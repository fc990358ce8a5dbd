"""What befell the GPUs, as marks on the load's time axis. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.record.columns import Recorded
from profiles.report.charts import svg
from profiles.report.charts.panel import Key, time_axis
from profiles.report.charts.svg import Note, Rule
from profiles.report.charts.timeline import Timeline

KINDS = {"xid": "c-fault", "gpu_lost": "c-fault", "gpu_back": "c-back"}  # event -> colour
SLOTS = 120  # of the axis: marks nearer to each other are one
PX_A_LETTER = 5.6
APART_PX = 8.0


@dataclass(frozen=True)
class Mark:
    """One event of one GPU."""

    t_s: float  # since the load began
    label: str
    colour: str
    uuid: str | None
    is_xid: bool


def marks(recorded: Recorded, time: Timeline) -> list[Mark]:
    """XIDs, and GPUs lost and back, while the picture lasts; in order."""
    zero_s = recorded.manifest.load_start_s or 0.0
    index = {gpu.uuid: gpu.index for gpu in recorded.manifest.gpus}
    index |= {gpu.uuid: gpu.index for gpu in recorded.gpus}
    found = []
    for event in recorded.events:
        t_s = event.t_s - zero_s
        if event.kind in KINDS and 0.0 <= t_s <= time.end_s:
            gpu = f"GPU {index[event.gpu_uuid]}" if event.gpu_uuid in index else "a GPU"
            state = "lost" if event.kind == "gpu_lost" else "back"
            label = f"XID {event.code} of {gpu}" if event.kind == "xid" else f"{gpu} {state}"
            found.append(Mark(t_s, label, KINDS[event.kind], event.gpu_uuid, event.kind == "xid"))
    return found


def rules(found: Sequence[Mark], time: Timeline) -> list[Rule]:
    """An upright line for each mark, or for those that lie upon each other."""
    _, unit_s = time_axis(time)
    slots = {(int(SLOTS * mark.t_s / time.end_s), mark.colour): mark for mark in reversed(found)}
    return [
        Rule(mark.t_s / unit_s, colour, "x", dashed=False) for (_, colour), mark in slots.items()
    ]


def notes(found: Sequence[Mark], time: Timeline, size: tuple[int, int]) -> list[Note]:
    """The marks' labels above the picture; those without room of their own share one."""
    _, unit_s = time_axis(time)
    width_px = size[0] - svg.AXIS_ROOM[0]
    groups: list[list[Mark]] = []
    for mark in found:
        groups.append([mark])
        while (
            len(groups) > 1
            and _ends_px(groups[-2], time, width_px)[1] + APART_PX
            > (_ends_px(groups[-1], time, width_px)[0])
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [
        Note(
            group[0].t_s / unit_s,
            _words(group, width_px * group[0].t_s / time.end_s, width_px),
            group[0].colour,
            ends=_ends_px(group, time, width_px)[1] <= width_px * group[0].t_s / time.end_s,
        )
        for group in groups
    ]


def keys(found: Sequence[Mark]) -> list[Key]:
    """Legend entries of the marks there are."""
    words = {"c-fault": "XID, or GPU lost", "c-back": "GPU back"}
    there = {mark.colour for mark in found}
    return [Key(word, colour) for colour, word in words.items() if colour in there]


def _words(group: Sequence[Mark], at: float, width_px: float) -> str:
    """As much as fits on either side of the mark."""
    told = [f"{group[0].label}, and {len(group) - 1:,} more", f"{len(group):,} events"]
    if len(group) <= 3:
        told.insert(0, ", ".join(mark.label for mark in group))
    room_px = max(at, width_px - at)
    return next((one for one in told if PX_A_LETTER * len(one) <= room_px), told[-1])


def _ends_px(group: Sequence[Mark], time: Timeline, width_px: float) -> tuple[float, float]:
    """Where the label begins and ends: right of its mark, or left where there is no room."""
    at = width_px * group[0].t_s / time.end_s
    wide = PX_A_LETTER * len(_words(group, at, width_px))
    return (at - wide, at) if at + wide > width_px and at - wide >= 0 else (at, at + wide)
