"""A request from its row to its record: what its answer is held against."""

import base64
import io
import json
import math
from pathlib import Path

import pytest
from PIL import Image

from loadtest.client.image_client import Exchange
from loadtest.generator.recorder import Recorder
from loadtest.generator.sender import Sender
from loadtest.plan.job import Job
from profiles.record.json_lines import LineWriter
from profiles.schema import Outcome


class Client:
    """Answers with PNGs of the asked number and size, whatever the format asked for."""

    def exchange(self) -> Exchange:
        return Exchange(sent_s=1.0)

    def post(
        self,
        exchange: Exchange,
        body: bytes,
        patience_s: float = math.inf,
        most_bytes: float = math.inf,
    ) -> None:
        asked = json.loads(body)
        width, height = (int(side) for side in asked["size"].split("x"))
        file = io.BytesIO()
        Image.new("RGB", (width, height)).save(file, "PNG")
        image = {"b64_json": base64.b64encode(file.getvalue()).decode()}
        exchange.status, exchange.done_s = 200, 2.0
        exchange.body = json.dumps({"data": [image] * asked["n"]}).encode()


@pytest.mark.parametrize(
    ("output_format", "outcome", "error"),
    [
        (None, Outcome.OK, None),
        ("png", Outcome.OK, None),
        ("webp", Outcome.FAILED, "an image is png, not webp"),
    ],
)
@pytest.mark.parametrize(("seq", "decoded"), [(10, True), (3, False)])
def test_an_answer_is_held_against_what_was_asked(
    tmp_path: Path, output_format: str | None, outcome: Outcome, error: str | None, seq: int,
    decoded: bool,
) -> None:  # fmt: skip
    job = Job(
        run_dir=str(tmp_path), clock_zero_monotonic_s=0.0, base_url="http://x", model="m",
        width=64, height=64, output_format=output_format, prompts=["a"], timeout_s=9.0,
        drain_s=9.0,
    )  # fmt: skip
    lines = LineWriter(tmp_path / "requests-a.jsonl")
    sender = Sender(job, Client(), Recorder(job, lines, lambda: 0.0))  # type: ignore[arg-type]
    record, _ = sender.send(seq, 0.5, 2, patience_s=9.0)
    lines.close()
    assert (record.outcome, record.error, record.images) == (outcome, error, 2)
    assert record.decoded is (decoded and outcome is Outcome.OK)
