"""Reading a run folder into columns."""

from pathlib import Path

import numpy as np

from profiles.record import columns
from profiles.record.columns import gpu_columns, request_columns
from profiles.schema import Outcome
from tests.profiles.synthetic import gpu_sample, manifest, plan, record, write_run
from tests.profiles.viral import viral_run

NAN = np.nan


def test_unknown_becomes_nan_and_service_is_the_sum_of_what_was_told() -> None:
    requests = request_columns(
        [
            record(0, text_s=0.1, denoise_s=0.6, decode_s=0.2, encode_s=0.1, queue_s=0.5),
            record(1, denoise_s=0.7),  # told one stage only
            record(2, sent_s=None, outcome=Outcome.UNSENT),
        ]
    )
    np.testing.assert_allclose(requests.service_s, [1.0, 0.7, NAN])
    np.testing.assert_allclose(requests.queue_s, [0.5, NAN, NAN])
    np.testing.assert_allclose(requests.latency_s, [1.0, 1.0, NAN])
    np.testing.assert_array_equal(requests.where(Outcome.UNSENT), [False, False, True])
    assert requests.seq.tolist() == [0, 1, 2]


def test_chunks_join() -> None:
    whole = request_columns(record(seq) for seq in range(10))
    size, columns.CHUNK = columns.CHUNK, 3
    try:
        parts = request_columns(record(seq) for seq in range(10))
    finally:
        columns.CHUNK = size
    np.testing.assert_array_equal(whole.scheduled_s, parts.scheduled_s)
    np.testing.assert_array_equal(whole.outcome, parts.outcome)


def test_samples_are_grouped_by_gpu_and_sorted_by_time() -> None:
    samples = [gpu_sample(2.0, 1), gpu_sample(3.0, 0), gpu_sample(1.0, 1, power_w=None)]
    first, second = gpu_columns(samples)
    assert (first.index, second.index) == (0, 1)
    assert second.t_s.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(second.power_w, [NAN, 100.0])


def test_read_counts_damaged_lines_and_keeps_the_rest(tmp_path: Path) -> None:
    folder = write_run(tmp_path, manifest(plan(3, 3.0)), [record(0), record(1)])
    with (folder.path / "requests-0.jsonl").open("ab") as file:
        file.write(b'{"seq": "not a number"}\n')
        file.write(b'{"seq": 2, "half a li')  # killed while writing: not damaged, not there
    recorded = columns.read(folder)
    assert recorded.damaged == 1
    assert recorded.requests.seq.tolist() == [0, 1]
    assert [host.node for host in recorded.hosts] == ["node-a"]


def test_an_empty_folder_reads_as_nothing(tmp_path: Path) -> None:
    recorded = columns.read(write_run(tmp_path, manifest(None), host=()))
    assert len(recorded.requests) == 0
    assert (recorded.gpus, recorded.hosts, recorded.load, recorded.events) == ([], [], [], [])


def test_the_synthetic_run_is_the_same_every_time(tmp_path: Path) -> None:
    one = viral_run(tmp_path / "a", duration_s=10.0)
    two = viral_run(tmp_path / "b", duration_s=10.0)
    for name in ("requests-0.jsonl", "gpu-node-a.jsonl", "host-node-a.jsonl"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
