import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from loadtest.driver.live import Display, View, Watcher, block, line
from loadtest.driver.live_devices import MAX_NEWS
from profiles.record.folder import RunFolder
from profiles.schema import GpuSample, HostSample, LoadSample, Outcome, RequestRecord, RunEvent


def record(seq: int, outcome: Outcome, scheduled_s: float, done_s: float | None) -> RequestRecord:
    return RequestRecord(
        seq=seq, scheduled_s=scheduled_s, done_s=done_s, outcome=outcome,
        images=2, width=8, height=8, prompt_chars=1,
    )  # fmt: skip


class Clock:
    now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_the_view_counts_what_is_on_disk_and_forgets_what_is_old(folder: RunFolder) -> None:
    clock = Clock()
    watcher = Watcher(folder, 100.0, clock)
    before = watcher.look()
    assert (before.t_s, before.done, before.p50_s, before.outcomes) == (-1.0, 0, None, {})

    folder.append_event(RunEvent(t_s=10.0, kind="load_start", source="locust"))
    requests, load = folder.requests_writer("a"), folder.load_writer("a")
    # latencies 1, 2, 3 s; six images in the 10 s since load start
    for seq, latency_s in enumerate((1.0, 2.0, 3.0)):
        requests.add(record(seq, Outcome.OK, 11.0, 11.0 + latency_s))
    requests.add(record(3, Outcome.REJECTED, 12.0, 12.1))
    requests.flush()
    load.add(LoadSample(t_s=20.0, generator="a", due=7, sent=6, done=4, in_flight=2))
    load.close()
    clock.now_s = 20.0
    view = watcher.look()
    assert (view.t_s, view.due, view.sent, view.in_flight, view.done) == (10.0, 7, 6, 2, 4)
    assert view.outcomes == {"ok": 3, "rejected": 1}
    assert view.p50_s == 2.0
    assert view.ok_images_per_s == pytest.approx(0.6)
    assert watcher.load_start_s == 10.0

    # half a minute later those are old news; the counts stay, the unsent are no answers
    requests.add(record(4, Outcome.UNSENT, 13.0, None))
    requests.add(record(5, Outcome.UNSENT, 110.5, None))  # due after the load: none of a stop's
    requests.close()
    clock.now_s = 50.0
    view = watcher.look()
    assert (view.p50_s, view.ok_images_per_s, view.done) == (None, 0.0, 4)
    assert watcher.unsent == 1


def test_devices_are_gpus_or_plainly_the_host(folder: RunFolder) -> None:
    host = folder.host_writer("n")
    host.add(HostSample(t_s=1.0, node="n", cpu_pct=42.0, mem_used_bytes=2**30, lag_s=0.0))
    host.close()
    watcher = Watcher(folder, 10.0, Clock())
    assert watcher.look().devices == ["host CPU 42%, memory 1.07 GB (no GPU)"]
    gpu = folder.gpu_writer("n")
    gpu.add(GpuSample(t_s=1.0, node="n", index=3, uuid="u", util_pct=97.0, lag_s=0.0))
    gpu.close()
    assert watcher.look().devices == ["GPU 3 97% busy"]  # power and memory unknown: not shown


def lose(folder: RunFolder, kind: str, t_s: float, **changes: Any) -> None:
    """Put down that GPU 6's state changed."""
    told = {"source": "sampler", "gpu_uuid": "GPU-6", "detail": "GPU 6: GPU is lost"} | changes
    folder.append_event(RunEvent(t_s=t_s, kind=kind, **told))


def tell(folder: RunFolder, t_s: float, indices: Iterable[int]) -> None:
    """Put down a reading of each of these GPUs."""
    writer = folder.gpu_writer("n")
    for index in indices:
        writer.add(
            GpuSample(
                t_s=t_s,
                node="n",
                index=index,
                uuid=f"GPU-{index}",
                util_pct=90.0 + index,
                power_w=600.0,
                mem_used_bytes=20 * 10**9,
                lag_s=0.0,
            )
        )
    writer.close()


def test_a_lost_gpu_is_shown_as_lost_and_told_at_once(folder: RunFolder) -> None:
    clock = Clock()
    watcher = Watcher(folder, 100.0, clock)
    folder.append_event(RunEvent(t_s=10.0, kind="load_start", source="locust"))
    tell(folder, 20.0, range(8))
    clock.now_s = 20.5
    view = watcher.look()
    assert view.devices[6] == "GPU 6 96% busy 600 W 20 GB"
    assert view.devices_short == "8 GPUs 94% busy (90 to 97%) 4,800 W"
    assert view.news == []

    lose(folder, "xid", 21.9, code=79, detail="GPU 6: XID 79: fallen off the bus")
    lose(folder, "gpu_lost", 22.0)
    tell(folder, 24.0, [0, 1, 2, 3, 4, 5, 7])
    clock.now_s = 24.5
    view = watcher.look()
    assert view.news == [
        "XID, 11.9 s into the load: GPU 6: XID 79: fallen off the bus",
        "GPU lost, 12 s into the load: GPU 6: GPU is lost",
    ]
    assert view.devices[0] == "GPU 6 LOST for 2 s"  # first, whatever is cut
    assert not any("96% busy" in one for one in view.devices)  # its last reading
    assert view.devices_short == "8 GPUs 93% busy (90 to 97%) 4,200 W; GPU 6 LOST for 2 s"
    assert len(line(view)) < 200

    assert watcher.look().news == []  # told once
    lose(folder, "gpu_back", 30.0, detail="GPU 6: answers again")
    tell(folder, 30.5, range(8))
    clock.now_s = 31.0
    view = watcher.look()
    assert view.news == ["GPU back, 20 s into the load: GPU 6: answers again"]
    assert view.devices[6] == "GPU 6 96% busy 600 W 20 GB"


def test_a_reading_of_the_past_is_not_shown_as_now(folder: RunFolder) -> None:
    clock = Clock()
    watcher = Watcher(folder, 100.0, clock)
    tell(folder, 1.0, [0, 1])
    tell(folder, 9.0, [1])
    clock.now_s = 9.5
    assert watcher.look().devices == ["GPU 0 not read for 8 s", "GPU 1 91% busy 600 W 20 GB"]


def test_a_storm_of_errors_does_not_fill_the_terminal(folder: RunFolder) -> None:
    watcher = Watcher(folder, 100.0, Clock())
    for k in range(100):
        lose(folder, "xid", 1.0 + k / 1000, code=31, detail="an \x1b[31merror")
    news = watcher.look().news
    assert len(news) == MAX_NEWS + 1
    assert news[0] == "XID, 1 s into the run: an  [31merror"
    assert "the report has them all" in news[-1]


def test_sixteen_gpus_are_cut_with_a_word(folder: RunFolder) -> None:
    watcher = Watcher(folder, 100.0, Clock())
    tell(folder, 4.0, range(16))
    lines = watcher.look().devices
    assert len(lines) == 9
    assert lines[-1] == "and 8 more GPUs"


def test_news_is_printed_once_and_plainly(folder: RunFolder) -> None:
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture, Display(console) as display:
        display.show(msgspec.structs.replace(VIEW, news=["GPU lost: [bold]6"]))
        display.show(VIEW)
    assert capture.get().count("GPU lost: [bold]6") == 1


VIEW = View(
    t_s=30.0, duration_s=90.0, due=50, sent=49, done=40, in_flight=9,
    outcomes={"ok": 38, "rejected": 2}, ok_images_per_s=1.25, p50_s=0.5, p95_s=None,
    devices=["GPU 0 97% busy"],
)  # fmt: skip


def test_a_plain_line_says_it_all() -> None:
    assert line(VIEW) == (
        "load:  30.0/90 s | sent 49 of 50 due, 9 in flight | 1.25 images/s | p50 0.50 s p95 unknown"
        " | ok 38 rejected 2 | GPU 0 97% busy"
    )


def test_the_block_is_drawn_at_any_width() -> None:
    for width in (40, 60, 120):
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as capture:
            console.print(block(VIEW, width))
        text = capture.get()
        assert "…" not in text  # nothing is cut
        assert max(map(len, text.splitlines())) <= width
        for words in (
            "30/90 s" if width < 60 else "30 of 90 s",
            "in flight 9",
            "ok 38",
            "rejected 2",
            "GPU 0 97% busy",
        ):
            assert words in text


def test_a_dumb_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, _environ={"TERM": "dumb"})
    with Display(console) as display:
        display.show(VIEW)
        display.show(VIEW)  # a moment later: not again
    assert stream.getvalue() == line(VIEW) + "\n"
