"""The report: one file, no network, everything from outside escaped, small, whatever the run."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.report.html.run import render, write_report
from profiles.schema import DeviceLimits, EndReason, Outcome, RunEvent, TargetInfo
from profiles.summary.run import compute
from tests.profiles.hopper import Hopper, befallen
from tests.profiles.synthetic import (
    START_S,
    gpu_info,
    gpu_sample,
    manifest,
    plan,
    record,
    write_run,
)
from tests.profiles.viral import viral_run

EVIL = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>\"'&"

STUB = TargetInfo(url="http://127.0.0.1:8000", embedded=True, model="stub", is_stub=True)


class Page(HTMLParser):
    """What a browser would see: tags, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def titles(self) -> list[str]:
        return [
            attrs["aria-label"] for tag, attrs in self.tags if tag == "svg" and attrs.get("role")
        ]


def page(folder: RunFolder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour at up to 68 images/s on 8 GPUs: about 94,000 requests."""
    folder = viral_run(
        tmp_path_factory.mktemp("hour"),
        duration_s=3600.0,
        peak_images_per_s=68.0,
        service_s=0.16,
        gpus=8,
        queue_limit=240,
        compression=1.0,
        sample_hz=1.0,
        retell=Hopper(lost=3, from_s=1900.0, until_s=2300.0),
        befell=befallen(3, 1900.0, 2300.0),
    )
    return write_report(folder)


def test_an_hour_is_small(hour: Path) -> None:
    assert 50_000 < hour.stat().st_size < 2_000_000


def test_nothing_is_fetched_and_nothing_runs(hour: Path) -> None:
    html = hour.read_text(encoding="utf-8")
    seen = Page(html)
    named = [
        attrs[name]
        for _, attrs in seen.tags
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        if name in attrs
    ]
    assert named == ["data:,"]  # the icon, so that no browser asks for one
    assert re.findall(r"url\s*\(|@import|@font-face", html) == []
    assert "script" not in {tag for tag, _ in seen.tags}
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    policy = [
        attrs["content"]
        for tag, attrs in seen.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_colours_follow_the_theme(hour: Path) -> None:
    html = hour.read_text(encoding="utf-8")
    style = html[html.index("<style>") : html.index("</style>")]
    pictures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    fixed = set(re.findall(r'(?:fill|stroke)="(?!none|transparent|var\()([^"]*)"', pictures))
    assert fixed == set()
    used = set(re.findall(r"var\(--([\w-]+)\)", html))
    for block in style.split("@media")[0], *re.findall(r"dark\) \{.*?\n\}", style, re.DOTALL):
        assert used - {"hue", "v"} <= set(re.findall(r"--([\w-]+):", block))
    assert "@media print" in style


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    load = plan(2, 10.0, peak_basis=EVIL, arrivals=EVIL)
    about = manifest(
        load,
        scenario=EVIL,
        title=EVIL,
        notes=[EVIL],
        labels={EVIL: EVIL},
        command=["viralload", EVIL],
        versions={EVIL: EVIL},
        git_commit=EVIL,
        end_detail=EVIL,
        end_reason=EndReason.ERROR,
        target=TargetInfo(
            url=EVIL,
            embedded=True,
            model=EVIL,
            device=EVIL,
            settings={EVIL: EVIL},
            limits=DeviceLimits(device_name=EVIL, matmul_dtype=EVIL, matmul_flop_per_s=1e12),
        ),
        gpus=[msgspec.structs.replace(gpu_info(k), node=EVIL, name=EVIL) for k in range(2)],
        gpu_price_basis=EVIL,
    )
    about = msgspec.structs.replace(
        about, hosts=[msgspec.structs.replace(about.hosts[0], node=EVIL, os=EVIL, cpu=EVIL)]
    )
    folder = write_run(
        tmp_path,
        about,
        [record(0, error=EVIL, outcome=Outcome.FAILED), record(1, error=EVIL, flop=1e12)],
        gpu=[gpu_sample(START_S + i / 2, k, node=EVIL) for i in range(21) for k in range(2)],
        events=[
            RunEvent(t_s=START_S, kind="server_unhealthy", source=EVIL, detail=EVIL),
            RunEvent(t_s=START_S, kind="xid", source=EVIL, detail=EVIL, gpu_uuid=EVIL, code=31),
        ],
    )
    seen = page(folder)
    assert {tag for tag, _ in seen.tags} & {"script", "img"} == set()
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert seen.text.count("<script>alert(1)</script>") >= 14  # told, as text
    assert "XID 31 of a GPU" in seen.text


def killed_early(root: Path) -> RunFolder:
    about = manifest(plan(10, 60.0), end_reason=None, end_utc=None)
    return write_run(root, about, [record(0), record(1)], host=())


def nothing_ok(root: Path) -> RunFolder:
    records = [record(seq, outcome=Outcome.REJECTED, status=429) for seq in range(10)]
    return write_run(root, manifest(plan(10, 10.0), target=STUB), records)


def never_loaded(root: Path) -> RunFolder:
    return write_run(root, manifest(None, end_reason=EndReason.ERROR), host=())


def no_records(root: Path) -> RunFolder:
    return write_run(root, manifest(plan(10, 10.0), end_reason=EndReason.INTERRUPTED))


def bare_gpu(root: Path) -> RunFolder:
    """A GPU that tells almost nothing, and a server that tells nothing."""
    names = ("util_pct", "power_w", "energy_j", "sm_clock_mhz", "temp_c", "mem_used_bytes")
    unknown: dict[str, Any] = dict.fromkeys(names)
    samples = [gpu_sample(START_S + i / 2, **unknown) for i in range(21)]
    records = [record(seq) for seq in range(10)]
    return write_run(root, manifest(plan(10, 10.0), gpus=[gpu_info(0)]), records, gpu=samples)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            killed_early,
            ["INVALID", "driver was killed", "no samples of the hardware", "8 never sent"],
        ),
        (
            nothing_ok,
            ["0 of 10 images came back (no model: stub)", "No request was ok", "10 refused"],
        ),
        (never_loaded, ["INVALID", "ended before its load began", "No hardware was read"]),
        (no_records, ["INVALID", "stopped by the user", "No request was recorded"]),
        (
            bare_gpu,
            [
                "PASS",
                "Not drawn, since no GPU reported it: GPU utilization, GPU power, GPU",
                "did not tell",
            ],
        ),
    ],
)
def test_runs_with_little_in_them(run: Any, says: list[str], tmp_path: Path) -> None:
    seen = page(run(tmp_path))
    for words in says:
        assert words in seen.words
    assert "None" not in seen.words
    assert "nan" not in seen.words.lower().split()


def test_the_order_is_verdict_figures_pictures_capacity_environment(tmp_path: Path) -> None:
    seen = page(viral_run(tmp_path, peak_images_per_s=9.0))
    order = [
        "FAIL",
        "Offered",
        "Thresholds",
        "The load",
        "The GPUs and their host",
        "Capacity of a block of GPUs",
        "What was replayed",
        "Environment",
    ]
    places = [seen.words.index(words, 80) for words in order]
    assert places == sorted(places)
    assert seen.titles() == [
        *["Images per second planned, offered, sent and completed over time"] * 3,  # three sizes
        "Requests per second by outcome over time",
        "Latency percentiles of ok requests over time",
        "Mean latency split into service, queue and elsewhere over time",
        "Distribution of the latency of ok requests",
        "Requests in flight over time",
        "Lateness of the load generator over time",
        *["images/s over time", "TFLOP/s per GPU over time"] * 3,
        "GPU utilization over time",
        "GPU power over time",
        "GPU clocks over time",
        "GPU temperature over time",
        "GPU memory over time",
        "Host CPU over time",
        "Host memory over time",
    ]


def test_how_full_the_gpus_were_stands_beside_their_utilization(tmp_path: Path) -> None:
    seen = page(viral_run(tmp_path, peak_images_per_s=4.0)).words
    for words in (
        "33% utilized, 3.2% of the measured matmul limit: 25.3 of 790 TFLOP/s per GPU",
        "34.7 TFLOP, mean of the ok images",
        "25.3 TFLOP/s per GPU (2 GPUs, mean over the load)",
        "790 TFLOP/s, 3.2% of it on average: bfloat16 matmul measured on NVIDIA H200",
        "989 TFLOP/s, 2.55% of it on average: dense bfloat16, NVIDIA H200 datasheet",
        "4.3 TB/s, read plus written",
    ):
        assert words in seen
    assert seen.index("Compute efficiency (MFU)") < seen.index("GPU utilization")


def test_a_server_that_tells_no_flop_has_no_such_box(tmp_path: Path) -> None:
    seen = page(write_run(tmp_path, manifest(plan(2, 10.0)), [record(0), record(1)]))
    assert "FLOP" not in seen.words


def test_without_a_gpu_host_readings_are_called_so_and_capacity_is_withheld(
    tmp_path: Path,
) -> None:
    seen = page(viral_run(tmp_path, use_gpu=False))
    assert "The host (no GPU was read)" in seen.words
    assert "A reading of the machine, not of a GPU" in seen.words
    assert "Withheld. The run used no GPU" in seen.words
    assert not [title for title in seen.titles() if title.startswith("GPU")]


def test_the_written_summary_is_what_is_shown(tmp_path: Path) -> None:
    folder = viral_run(tmp_path, duration_s=20.0)
    summary = compute(read(folder))
    folder.write_summary(msgspec.structs.replace(summary, ok_images=123_456))
    assert "123,456 of" in page(folder).words


def test_rendering_twice_gives_the_same(tmp_path: Path) -> None:
    recorded = read(viral_run(tmp_path, duration_s=20.0))
    summary = compute(recorded)
    assert render(recorded, summary) == render(recorded, summary)


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = never_loaded(tmp_path)
    folder.report_path.mkdir()
    with pytest.raises(RunError, match=r"cannot write .*report\.html"):
        write_report(folder)


def test_the_lateness_bound_is_drawn_where_it_is(tmp_path: Path) -> None:
    # The axis ends at the next round number above 1.02 x 50 ms, 60: the plot is 170 px high, so
    # 50 ms stands 170 x 10 / 60 = 28.3 px below its top.
    html = write_report(viral_run(tmp_path, duration_s=20.0)).read_text(encoding="utf-8")
    picture = html[html.index('aria-label="Lateness of the load generator') :]
    [down] = re.findall(r"translate\([\d.]+,([\d.]+)\)[^>]*--c-slo", picture.split("</svg>")[0])
    assert float(down) == pytest.approx(28.3, abs=0.6)
