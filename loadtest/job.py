"""What every generator process needs to play its share: written by the run's driver as job.json."""

from typing import Any

import msgspec

from loadtest.crowd import Retry


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run's instructions for its generators. Holds no secret: the key is in the environment."""

    run_dir: str
    clock_zero_monotonic_s: float
    base_url: str  # scheme://host:port[/prefix], no trailing slash
    model: str | None
    width: int
    height: int
    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    output_format: str | None = None
    response_format: str | None = "b64_json"
    prompts: list[str]
    timeout_s: float
    drain_s: float
    processes: int = 1
    key_env: str = "OPENAI_API_KEY"
    retry: Retry | None = None  # of people; None: requests come by themselves
    seed: int = 1
    load_s: float = 0.0  # the load's length; people begin no image after it
    tells_priority: bool = False  # the server is viralload's own; others refuse unknown fields

    @property
    def endpoint(self) -> str:
        """The URL requests go to."""
        return f"{self.base_url}/v1/images/generations"

    def prompt(self, seq: int) -> str:
        """The prompt of request `seq`: they take turns."""
        return self.prompts[seq % len(self.prompts)]

    def body(
        self, seq: int, images: int, steps: int | None = None, priority: str | None = None
    ) -> bytes:
        """The JSON body of request `seq`; keys that were not asked for are left out."""
        fields: dict[str, Any] = {
            "model": self.model,
            "prompt": self.prompt(seq),
            "n": images,
            "size": f"{self.width}x{self.height}",
            "response_format": self.response_format,
            "output_format": self.output_format,
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": steps or self.steps,
            "guidance_scale": self.guidance_scale,
            "priority": priority if self.tells_priority else None,
        }
        return msgspec.json.encode(
            {key: value for key, value in fields.items() if value is not None}
        )


def encode(job: Job) -> bytes:
    """The job as JSON."""
    return msgspec.json.encode(job, enc_hook=float)  # durations are seconds


def decode(data: bytes) -> Job:
    """The job of its JSON."""
    return msgspec.json.decode(data, type=Job, dec_hook=lambda kind, value: kind(value))
