"""Service times from what was measured, and what is said where they are missing."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from profiles.fleet.service_times import line, of_records, read_service
from profiles.schema import Outcome, RequestRecord
from profiles.schema.fleet import FleetError, Service

REFERENCE = Path(__file__).parents[3] / "profiles" / "reference" / "engine-tiny-cpu.json"


def record(batch: float, seq: int = 0, **changes: Any) -> RequestRecord:
    """An answer of a GPU that takes 0.1 + 0.02 n a step, 20 steps, and 0.5 s around them."""
    told: dict[str, Any] = {
        "seq": seq, "scheduled_s": 0.0, "outcome": Outcome.OK, "images": 1, "width": 64,
        "height": 64, "prompt_chars": 3, "steps": 20, "batch_mean": batch,
        "denoise_s": 20 * (0.1 + 0.02 * batch), "text_s": 0.1, "decode_s": 0.3, "encode_s": 0.1,
    }  # fmt: skip
    return RequestRecord(**(told | changes))


def test_a_run_gives_its_line() -> None:
    service = of_records([record(1 + n % 8, n) for n in range(80)], "a run")
    assert service.step_base_s == pytest.approx(0.1)
    assert service.step_image_s == pytest.approx(0.02)
    assert service.tail_s == pytest.approx(0.5)
    assert (service.steps, service.largest_batch) == (20, 8)


def test_a_run_of_lone_images_knows_batches_of_one() -> None:
    service = of_records([record(1.0, n) for n in range(30)], "a run")
    assert service.largest_batch == 1
    assert service.batch_s(1) == pytest.approx(0.5 + 20 * 0.12)


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ([record(1.0, n) for n in range(5)], "fewer than 20"),
        ([record(1.0, n, batch_mean=None) for n in range(30)], "0 ok answers told"),
        ([record(8.0, n) for n in range(30)], "at least two"),
    ],
)
def test_what_is_missing_is_named(records: list[RequestRecord], word: str) -> None:
    with pytest.raises(FleetError, match=word):
        of_records(records, "a run")


def test_line_keeps_both_above_zero() -> None:
    batches = np.array([1.0, 2.0, 4.0])
    assert line(batches, np.array([3.0, 2.0, 1.0])) == (2.0, 0.0)
    base, slope = line(batches, np.array([0.5, 2.0, 5.0]))  # free fit: 1.5 n - 1
    assert base == 0.0
    assert slope == pytest.approx((0.5 + 4.0 + 20.0) / 21.0)  # sum n s / sum n²


def test_the_reference_profile_is_read() -> None:
    service = read_service(REFERENCE)
    # the stock pipeline was measured at 5.75 to 6.4 images/s, full batches of 8 at 18.6
    assert 5.5 < 1 / service.batch_s(1) < 6.5
    assert 8 / service.batch_s(8) == pytest.approx(18.6, rel=0.05)
    assert service.servers == "servers without a GPU"
    with pytest.raises(FleetError, match="--max-batch"):
        read_service(REFERENCE, 16)


def test_a_profile_may_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "h200.json"
    service = Service(step_base_s=0.01, step_image_s=0.02, steps=20, largest_batch=4)
    path.write_bytes(msgspec.json.encode(service))
    assert read_service(path) == service
    path.write_text('{"step_base_s": -1}')
    with pytest.raises(FleetError, match="step_base_s"):
        read_service(path)
    with pytest.raises(FleetError, match="cannot read"):
        read_service(tmp_path / "none.json")
