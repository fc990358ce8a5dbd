"""The charts of the hardware: which there are, what stands where, and what befell the GPUs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiles import formats
from profiles.record.columns import Recorded, gpu_columns, read
from profiles.report.charts import events as marks
from profiles.report.charts import timeline
from profiles.report.charts import work as work_chart
from profiles.report.charts.devices import device_panels, untold
from profiles.report.charts.gpu_rows import MAX_ROWS, each_gpu
from profiles.report.charts.panel import Panel
from profiles.report.charts.svg import NARROW, WIDE
from profiles.report.charts.timeline import Timeline
from profiles.schema import GpuSample, RunEvent, TargetInfo
from profiles.summary.run import compute
from tests.profiles.hopper import Hopper, befallen
from tests.profiles.synthetic import (
    PEAKED,
    START_S,
    gpu_info,
    gpu_sample,
    manifest,
    record,
    recorded,
)
from tests.profiles.viral import viral_run

CUDA = TargetInfo(url="http://127.0.0.1:1", embedded=True, model="sd15", device="cuda", replicas=1)
Told = Callable[[float], dict[str, Any]]


def run(told: Told = lambda _: {}, gpus: int = 1, **changes: Any) -> tuple[Recorded, Timeline]:
    """100 s of load on GPUs that tell `told(seconds since it began)` once a second."""
    samples = [
        gpu_sample(START_S + t, index, **told(float(t)))
        for t in range(101)
        for index in range(gpus)
    ]
    records = changes.pop("records", [record(k, scheduled_s=START_S + 5.0 * k) for k in range(20)])
    about = manifest(PEAKED, gpus=[gpu_info(index) for index in range(gpus)], target=CUDA)
    read_gpus = changes.pop("read", gpu_columns(samples))
    found = recorded(about, records, gpus=read_gpus, **changes)
    time = timeline.timeline(found)
    assert time is not None
    return found, time


def panels(found: tuple[Recorded, Timeline]) -> dict[str, Panel]:
    return {one.name: one for one in device_panels(*found, timeline.since_load(found[0]))}


@pytest.fixture(scope="module")
def plain() -> dict[str, Panel]:
    """Of a GPU at 100 W that tells only the least."""
    return panels(run())


def heights(picture: str, colour: str, high: float) -> list[float]:
    """The values of a line, back from its path: the plot is 170 px high."""
    [path] = re.findall(rf'<path[^>]*d="(M[^"]*)" stroke="var\(--{colour}\)"', picture)
    return [high * (1 - float(y) / 170.0) for _, y in re.findall(r"([-\d.]+),([-\d.]+)", path)]


def test_a_gpu_that_tells_everything_has_every_panel(tmp_path: Path) -> None:
    found = read(viral_run(tmp_path, duration_s=9.0, sample_hz=2.0, retell=Hopper()))
    time = timeline.timeline(found)
    assert time is not None
    shown = device_panels(found, time, timeline.since_load(found))
    assert [one.name for one in shown] == [
        "work", "gpu-busy", "gpu-power", "gpu-held", "gpu-clock", "gpu-temperature", "gpu-memory",
        "gpu-pcie", "host-cpu", "host-memory",
    ]  # fmt: skip
    assert all(one.picture or one.nothing for one in shown)
    assert untold(found) == []


def test_what_no_gpu_tells_has_no_panel_and_is_named() -> None:
    found = run(lambda _: {"power_average_w": 90.0, "temp_c": None})
    assert list(panels(found)) == [
        "gpu-busy", "gpu-power", "gpu-clock", "gpu-memory", "host-cpu", "host-memory",
    ]  # fmt: skip
    assert untold(found[0]) == [
        "GPU utilization (SM active, SM occupancy, DRAM bandwidth)",
        "GPU clocks (memory)",
        "GPU temperature",
        "PCIe",
        "clock throttling",
        "tensor pipe",
    ]
    assert "SM active" not in panels(found)["gpu-busy"].how


def test_without_gpus_nothing_of_them_is_drawn_or_missed() -> None:
    found = run(gpus=0)
    assert list(panels(found)) == ["host-cpu", "host-memory"]
    assert untold(found[0]) == []
    assert each_gpu(*found) is None


def test_power_is_drawn_where_it_was_below_its_limit() -> None:
    # 200 W, and 600 W from 40 to 60 s; a limit of 700 W is in sight: the axis ends at 800.
    panel = panels(run(lambda t: {"power_w": 600.0 if 40 < t <= 60 else 200.0}))["gpu-power"]
    assert panel.picture is not None
    watts = heights(panel.picture, "c-g0", 800.0)
    assert watts[:70] == pytest.approx([200.0] * 70, abs=1.0)  # bins of 0.5 s
    assert watts[80:120] == pytest.approx([600.0] * 40, abs=1.0)
    [down] = re.findall(r"translate\([\d.]+,([\d.]+)\)[^>]*--c-slo", panel.picture)
    assert float(down) == pytest.approx(170 * 100 / 800, abs=0.6)
    assert [key.label for key in panel.keys] == ["instant", "range", "limit 700 W"]


def test_a_limit_far_above_the_readings_is_told_and_not_drawn(plain: dict[str, Panel]) -> None:
    panel = plain["gpu-power"]
    assert panel.picture is not None
    assert "c-slo" not in panel.picture
    assert panel.keys[-1].label == "limit 700 W, above this picture"


def test_the_phases_of_the_curve_are_marked(plain: dict[str, Panel]) -> None:
    # The peak is from 40.1 to 60 of 100 s: 139.5 px of 348, 69.3 px wide.
    for name, panel in plain.items():
        assert panel.picture is not None
        [shade] = re.findall(r'd="M([\d.]+),0h([\d.]+)[^"]*"[^>]*c-phase', panel.picture)
        assert [float(px) for px in shade] == pytest.approx([139.5, 69.3], abs=0.6), name
        assert re.findall(r">(rise|peak|decay)<", panel.picture) == ["rise", "peak", "decay"]


def test_held_clocks_are_stacked_by_cause_and_none_is_said() -> None:
    def told(t: float) -> dict[str, float]:
        return {"throttle_power_s": 0.3 * max(0.0, t - 40.0), "throttle_brake_s": 0.0}

    panel = panels(run(told))["gpu-held"]
    assert [key.label for key in panel.keys] == ["SW power cap"]
    assert panel.picture is not None
    none = panels(run(lambda _: {"throttle_power_s": 7.0, "throttle_brake_s": 0.0}))["gpu-held"]
    assert none.picture is None
    assert none.nothing == (
        "No clock throttling by any cause that is reported: SW power cap, HW power brake."
    )


def test_what_was_told_only_before_the_load_is_not_drawn() -> None:
    before = [
        gpu_sample(t, throttle_power_s=3.0, tensor_pct=9.0, gpm_span_s=1.0) for t in (1.0, 2.0, 3.0)
    ]
    assert list(panels(run(read=gpu_columns(before)))) == ["host-cpu", "host-memory"]


# -- work ------------------------------------------------------------------------------------


def test_tflops_are_of_the_images_done_in_a_bin_and_unknown_where_one_is_silent() -> None:
    # 20 images, 5 s apart, done 1 s later; 30 TFLOP each, the third does not tell.
    records = [
        record(k, scheduled_s=START_S + 5.0 * k, flop=None if k == 2 else 30e12) for k in range(20)
    ]
    found, time = run(records=records)
    tflops = work_chart.achieved(found, time, timeline.since_load(found))
    assert tflops is not None
    assert time.width_s == 5.0
    assert tflops[:4].tolist() == [6.0, 6.0, pytest.approx(np.nan, nan_ok=True), 6.0]
    found, time = run()
    assert work_chart.achieved(found, time, timeline.since_load(found)) is None  # none told


def test_work_stands_beside_tensor_activity() -> None:
    records = [record(k, scheduled_s=START_S + 5.0 * k, flop=30e12) for k in range(20)]
    found = run(lambda _: {"tensor_pct": 30.0, "gpm_span_s": 1.0}, records=records)
    panel = panels(found)["work"]
    for picture in (panel.picture, panel.medium, panel.wide):
        assert picture is not None
        assert re.findall('aria-label="([^"]*)"', picture) == [
            "images/s over time",
            "TFLOP/s per GPU over time",
            "tensor pipe, % of the time over time",
        ]
        assert picture.count(">seconds since the load began<") == 1


# -- what befell -----------------------------------------------------------------------------


def event(t_s: float, kind: str, index: int = 0, code: int | None = None) -> RunEvent:
    return RunEvent(
        t_s=START_S + t_s, kind=kind, source="n", gpu_uuid=f"GPU-{index:08x}", code=code
    )


def labels(events: Sequence[RunEvent], size: tuple[int, int] = WIDE) -> list[tuple[str, bool]]:
    found, time = run(gpus=2, events=events)
    notes = marks.notes(marks.marks(found, time), time, size)
    return [(note.label, note.ends) for note in notes]


def test_marks_stand_on_the_time_axis() -> None:
    found = run(events=[event(30.0, "xid", code=79), event(50.0, "gpu_back")])
    shown = panels(found)
    assert "work" in shown  # for their names' sake
    for name in ("work", "gpu-power"):
        picture = str(shown[name].picture)
        for colour, t_s in (("c-fault", 30.0), ("c-back", 50.0)):
            [at] = re.findall(rf"translate\(([\d.]+),[^>]*stroke=\"var\(--{colour}\)", picture)
            assert float(at) == pytest.approx(348 * t_s / 100, abs=0.6)
    assert "c-fault" not in str(shown["host-cpu"].picture)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [event(10.0, "xid", code=31), event(50.0, "gpu_lost", 1), event(70.0, "gpu_back", 1)],
            [("XID 31 of GPU 0", False), ("GPU 1 lost", False), ("GPU 1 back", False)],
        ),
        ([event(50.0, "xid", 1, 79), event(50.1, "gpu_lost", 1)],
         [("XID 79 of GPU 1, GPU 1 lost", False)]),
        ([event(50.0 + k / 100, "xid", code=13) for k in range(1500)],
         [("XID 13 of GPU 0, and 1,499 more", False)]),
        ([event(99.0, "xid", 7, 13)], [("XID 13 of a GPU", True)]),  # not one of ours
        ([event(-5.0, "xid", code=13), event(120.0, "xid", code=13)], []),  # outside the picture
    ],
)  # fmt: skip
def test_labels_without_room_of_their_own_are_one(
    events: list[RunEvent], expected: list[tuple[str, bool]]
) -> None:
    assert labels(events) == expected


def test_a_narrow_picture_joins_more_of_them() -> None:
    events = [event(10.0, "xid", code=31), event(30.0, "gpu_lost", 1), event(80.0, "gpu_back", 1)]
    assert len(labels(events, WIDE)) == 3
    assert len(labels(events, NARROW)) == 2


def test_a_label_that_fits_on_neither_side_is_cut_to_a_count() -> None:
    # three of them in the middle of 348 px: 174 on either side, 31 letters
    events = [event(50.0, "xid", 1, 79), event(50.1, "gpu_lost", 1), event(50.2, "gpu_back", 1)]
    assert labels(events, WIDE)[0][0] == "XID 79 of GPU 1, GPU 1 lost, GPU 1 back"
    assert labels(events, NARROW)[0][0] == "XID 79 of GPU 1, and 2 more"


def test_a_storm_of_xids_is_a_bounded_number_of_lines() -> None:
    found, time = run(events=[event(k / 100, "xid", code=13) for k in range(10_000)])
    assert len(marks.rules(marks.marks(found, time), time)) <= marks.SLOTS


# -- each GPU --------------------------------------------------------------------------------


def test_each_gpu_has_a_row_on_one_scale_with_what_befell_it() -> None:
    hopper = Hopper(lost=1, from_s=60.0, until_s=80.0)

    def samples() -> list[GpuSample]:
        told = (hopper(gpu_sample(START_S + t, k, power_w=100.0 * (k + 1)))
                for t in range(101) for k in range(3))  # fmt: skip
        return [one for one in told if one is not None]

    found, time = run(gpus=3, events=befallen(1, 60.0, 80.0))
    found = recorded(found.manifest, gpus=gpu_columns(samples()), events=found.events)
    table = each_gpu(found, time)
    assert table is not None
    assert [title for title, _ in table.headers] == [
        "Utilization", "Power", "Throttled", "SM clock", "Core", "Memory",
    ]  # fmt: skip
    assert table.headers[1] == ("Power", "0 to 300 W")
    assert [name for name, _ in table.rows] == [f"GPU {k} · node-a" for k in range(3)]
    powers = [cells[1] for _, cells in table.rows]
    assert [cell.told for cell in powers] == ["100 W", "200 W", "300 W"]
    lost = re.findall(r'class="lost" x="(\d+)" y="0" height="24" width="(\d+)"', powers[1].picture)
    assert lost == [("72", "24")]  # 60 to 80 of 100 s on 120
    for cell, breaks, xids in zip(powers, (1, 2, 1), (0, 1, 0), strict=True):
        [line] = re.findall(r'class="line" d="([^"]*)"', cell.picture)
        assert (line.count("M"), cell.picture.count('class="xid"')) == (breaks, xids)


def test_one_gpu_has_one_mean_in_every_table() -> None:
    # busier towards the end, lost from 30 to 60 s, clocks held a fifth of the time
    def told(t_s: float) -> dict[str, Any]:
        return {
            "power_w": 100.0 + 5.0 * t_s,
            "util_pct": min(100.0, t_s),
            "sm_clock_mhz": 1980.0 - t_s,
            "throttle_power_s": 0.2 * t_s,
        }

    found, time = run(told, gpus=2, events=befallen(1, 30.0, 60.0))
    read_of = [one for one in found.gpus if one.index == 0]
    lost = found.gpus[1]
    kept = (lost.t_s < START_S + 30.0) | (lost.t_s >= START_S + 60.0)
    names = [one.name for one in fields(lost)]
    parts: dict[str, Any] = {
        name: value[kept]
        for name in names
        if isinstance(value := getattr(lost, name), np.ndarray) and value.shape == kept.shape
    }
    found = replace(found, gpus=[*read_of, replace(lost, **parts)])
    summary = compute(found)
    table = each_gpu(found, time)
    assert table is not None
    for (_, cells), gpu in zip(table.rows, summary.gpus, strict=True):
        util, power, held, clock = (cell.told for cell in cells[:4])
        assert util == formats.percent(gpu.util_mean_pct)
        assert power == formats.watts(gpu.power_mean_w)
        assert held == formats.percent(100.0 * (gpu.power_capped_share or 0.0)) == "20%"
        assert clock == formats.megahertz(gpu.sm_clock_mean_mhz)
    # 0 to 29 and 60 to 100 s were read, 69 s of them: (29 x 14.5 + 40 x 80) / 69 = 52.5 s on mean
    assert summary.gpus[1].power_mean_w == pytest.approx(100.0 + 5.0 * (29 * 14.5 + 40 * 80) / 69)


def test_of_too_many_gpus_those_with_events_are_shown() -> None:
    count = MAX_ROWS + 3
    table = each_gpu(*run(gpus=count, events=[event(5.0, "xid", count - 1, 13)]))
    assert table is not None
    assert (len(table.rows), table.left_out) == (MAX_ROWS, 3)
    assert table.rows[-1][0] == f"GPU {count - 1} · node-a"
    assert table.rows[-2][0] == f"GPU {MAX_ROWS - 2} · node-a"
