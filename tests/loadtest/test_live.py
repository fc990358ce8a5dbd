import io
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.live import Display, View, Watcher, block, line
from profiles.run import RunFolder
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
    assert watcher.look().devices == ["host CPU 42 %, memory 1.0 GiB (no GPU)"]
    gpu = folder.gpu_writer("n")
    gpu.add(GpuSample(t_s=1.0, node="n", index=3, uuid="u", util_pct=97.0, lag_s=0.0))
    gpu.close()
    assert watcher.look().devices == ["GPU 3 97 % busy"]  # power and memory unknown: not shown


VIEW = View(
    t_s=30.0, duration_s=90.0, due=50, sent=49, done=40, in_flight=9,
    outcomes={"ok": 38, "rejected": 2}, ok_images_per_s=1.25, p50_s=0.5, p95_s=None,
    devices=["GPU 0 97 % busy"],
)  # fmt: skip


def test_a_plain_line_says_it_all() -> None:
    assert line(VIEW) == (
        "load:  30.0/90 s | sent 49 of 50 due, 9 in flight | 1.25 images/s | p50 0.50 s p95 unknown"
        " | ok 38 rejected 2 | GPU 0 97 % busy"
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
            "GPU 0 97 % busy",
        ):
            assert words in text


def test_a_dumb_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, _environ={"TERM": "dumb"})
    with Display(console) as display:
        display.show(VIEW)
        display.show(VIEW)  # a moment later: not again
    assert stream.getvalue() == line(VIEW) + "\n"
