"""What the panel in Locust's web UI draws, from a run folder made up."""

from pathlib import Path

import numpy as np

from loadtest.generator.web_ui import MAX_POINTS, Progress
from profiles.record.folder import RunFolder
from profiles.schema import LoadSample, RunEvent


def sample(t_s: float, generator: str, sent: int, done: int) -> LoadSample:
    return LoadSample(
        t_s=t_s, generator=generator, due=sent, sent=sent, done=done, in_flight=sent - done
    )


def progress(folder: RunFolder, seconds: float) -> Progress:
    """Of a load of 10 requests/s that begins 20 s into the run."""
    rows = np.zeros(int(10 * seconds), dtype=[("t_s", "f8")])
    rows["t_s"] = np.arange(rows.size) / 10
    np.save(folder.schedule_path, rows)
    return Progress(folder, seconds)


def test_generators_add_up_second_by_second(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    shown = progress(folder, 4)
    assert shown.series()["t_s"] == []  # the load has not begun
    folder.append_event(RunEvent(t_s=20.0, kind="load_start", source="locust"))
    first, second = folder.load_writer("locust-0"), folder.load_writer("locust-1")
    first.add(sample(21.25, "locust-0", 6, 5))
    second.add(sample(21.05, "locust-1", 5, 5))
    first.add(sample(22.25, "locust-0", 11, 9))
    first.flush()
    second.flush()
    assert len(shown.series()["t_s"]) == 1  # locust-1 has not told of the third second yet
    first.add(sample(25.25, "locust-0", 26, 24))  # ... and is given up after three more
    first.close()
    second.close()
    series = shown.series()
    # due by 1.15 s, the mean of the two: those of 0, 0.1, ... 1.1; by 2.25 s: up to 2.2
    assert series["offered"] == [12, 23]
    assert (series["t_s"], series["sent"], series["done"]) == ([1.15, 2.25], [11, 16], [10, 14])
    assert series["in_flight"] == [1, 2]
    assert (series["scheduled"], series["duration_s"]) == (40, 4)
    assert series["generators"] == ["locust-0", "locust-1"]


def test_a_long_run_is_thinned_and_keeps_its_newest_point(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    shown = progress(folder, 1)
    folder.append_event(RunEvent(t_s=20.0, kind="load_start", source="locust"))
    writer = folder.load_writer("a")
    for second in range(2 * MAX_POINTS + 1):
        writer.add(sample(20.5 + second, "a", second, second))
    writer.close()
    series = shown.series()
    assert MAX_POINTS / 2 <= len(series["t_s"]) <= MAX_POINTS
    assert series["sent"][-1] == 2 * MAX_POINTS
