"""What every generator process needs to play its share: written by the run's driver as job.json."""

from typing import Any

import msgspec
import numpy as np

from loadtest.scenario.prompts import PromptMix, negative_at, prompt_at
from loadtest.scenario.session import Retry

Rows = np.ndarray[Any, np.dtype[np.void]]
ASKED = ("steps", "width", "height", "prompt_chars", "user")  # of a row; 0: not told


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What one request asks for, beside how many images."""

    prompt: str
    negative_prompt: str | None = None
    width: int
    height: int
    steps: int | None = None
    user: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run's instructions for its generators. Holds no secret: those are in the environment."""

    run_dir: str
    clock_zero_monotonic_s: float
    base_url: str  # scheme://host:port, no trailing slash
    path: str = "/v1/images/generations"  # with what of the query is no secret
    model: str | None
    width: int
    height: int
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    output_format: str | None = None
    response_format: str | None = "b64_json"
    prompts: list[str]
    prompt_mix: PromptMix = PromptMix()
    seed: int = 1
    image_bytes: int = 0  # to which a stub pads its files; larger answers than others give
    timeout_s: float
    drain_s: float
    processes: int = 1
    is_remote: bool = False  # every generator is a worker that comes over the network
    share: int | None = None  # on a worker: its own, and ...
    worker: str | None = None  # ... the name under which the master knows it
    fields: dict[str, Any] = {}  # of the body, beside or in place of ours; null: left out
    retry: Retry | None = None  # of people; None: requests come by themselves
    load_s: float = 0.0  # the load's length; people begin no image after it
    in_windows: bool = False  # arrivals come window by window, while the load is on
    tells_priority: bool = False  # the server is viralload's own; others refuse unknown fields

    @property
    def endpoint(self) -> str:
        """The URL requests go to."""
        return self.base_url + self.path

    def ask(self, seq: int, schedule: Rows | None = None) -> Ask:
        """What request `seq` asks for: what its row of the schedule says, else as all do.

        A search's rows (`loadtest.calibration.calibrate`) are fewer than its requests, and come
        again.
        """
        row = {} if schedule is None else _told(schedule[seq % len(schedule)])
        negative = negative_at(self.prompt_mix, self.seed, seq)
        return Ask(
            prompt=prompt_at(
                self.prompts, self.prompt_mix, self.seed, seq, row.get("prompt_chars")
            ),
            negative_prompt=self.negative_prompt if negative is None else negative,
            width=row.get("width", self.width),
            height=row.get("height", self.height),
            steps=row.get("steps", self.steps),
            user=f"user-{row['user']}" if "user" in row else None,
        )

    def body(
        self, seq: int, images: int, ask: Ask | None = None, priority: str | None = None
    ) -> bytes:
        """The JSON body of request `seq`; keys that were not asked for are left out.

        What `fields` holds comes last, so that it takes the place of ours.
        """
        ask = ask or self.ask(seq)
        fields: dict[str, Any] = {
            "model": self.model,
            "prompt": ask.prompt,
            "n": images,
            "size": f"{ask.width}x{ask.height}",
            "response_format": self.response_format,
            "output_format": self.output_format,
            "negative_prompt": ask.negative_prompt,
            "num_inference_steps": ask.steps,
            "guidance_scale": self.guidance_scale,
            "user": ask.user,
            "priority": priority if self.tells_priority else None,
            **self.fields,
        }
        return msgspec.json.encode(
            {key: value for key, value in fields.items() if value is not None}
        )


def _told(row: Any) -> dict[str, int]:
    return {name: int(row[name]) for name in ASKED if name in row.dtype.names and row[name]}


def encode(job: Job) -> bytes:
    """The job as JSON."""
    return msgspec.json.encode(job, enc_hook=float)  # durations are seconds


def decode(data: bytes) -> Job:
    """The job of its JSON."""
    return msgspec.json.decode(data, type=Job, dec_hook=lambda kind, value: kind(value))
