"""The server's settings: one flat, frozen value, checked once, at the door.

SettingsError
    what a user wrote is wrong; the text names the field and the remedy
"""

import difflib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

Json: TypeAlias = str | bytes

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

ModelName = Literal["tiny", "sd15", "sdxl", "stub"]
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class SettingsError(ValueError):
    """What the user wrote cannot be served; the message says which field and what to do."""


class ModelDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a request gets from a model when it does not ask for anything else."""

    side: int
    steps: int
    guidance_scale: float
    max_side: int


MODEL_DEFAULTS: dict[str, ModelDefaults] = {
    "tiny": ModelDefaults(side=64, steps=20, guidance_scale=7.5, max_side=512),
    "sd15": ModelDefaults(side=512, steps=20, guidance_scale=7.5, max_side=1024),
    "sdxl": ModelDefaults(side=1024, steps=20, guidance_scale=8.0, max_side=2048),
    "stub": ModelDefaults(side=512, steps=20, guidance_scale=7.5, max_side=2048),
}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides how the server behaves.

    Attributes:
        model: What denoises. `stub` is no model: it waits, then answers a prepared image.
        weights: `random`, a folder saved by diffusers, or a hub id (`owner/name`).
        policy: `none` runs the stock pipeline an image at a time; `request` runs whole-loop
            batches of compatible requests.
        replicas: Copies of the model; None: one a visible GPU, one on a CPU.
        device: Where the model runs; `auto` takes the GPUs where there are any.
        max_batch: Most images in one denoising loop (policy `request`).
        max_wait_s: Longest an image waits for others to fill its batch on an idle replica.
        max_queue: Most images waiting in one replica; beyond it a request gets 429.
        ingress: What takes the connections: `haproxy`, Ray's own `proxy` (a third of the
            requests/s), or `auto`, HAProxy where it is installed. `serve run` has the proxy.
        host: Address the HTTP server binds; anything but loopback opens it to the network.
        port: Port of the HTTP server.
        metrics_port: Port of the Prometheus metrics, on this machine's own address; None: any
            free one, told when the server is ready.
        threads: torch's CPU threads; None leaves one core to the others, and takes at least one.
        default_steps: Denoising steps of a request that does not say; None: the model's own.
        max_steps: Most steps a request may ask for.
        max_side: Longest width or height in pixels a request may ask for; None: the model's own.
        max_prompt_chars: Longest prompt in characters.
        max_body_bytes: Longest HTTP body.
        stub_fixed_s: Time the stub takes for a batch, beside its steps.
        stub_step_s: Time the stub takes for one step of a batch, whatever the batch's size.
        stub_image_bytes: Least size of the stub's image files; shorter ones are padded.
    """

    model: ModelName = "tiny"
    weights: Annotated[str, msgspec.Meta(min_length=1)] = "random"
    policy: Literal["none", "request"] = "request"
    replicas: PositiveInt | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_batch: PositiveInt = 8
    max_wait_s: Seconds = 0.005
    max_queue: PositiveInt = 64
    ingress: Literal["auto", "haproxy", "proxy"] = "auto"
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port | None = None
    threads: PositiveInt | None = None
    default_steps: PositiveInt | None = None
    max_steps: PositiveInt = 150
    max_side: Annotated[int, msgspec.Meta(ge=64, le=8192)] | None = None
    max_prompt_chars: PositiveInt = 4000
    max_body_bytes: PositiveInt = 65536
    stub_fixed_s: Seconds = 0.01
    stub_step_s: Seconds = 0.002
    stub_image_bytes: Annotated[int, msgspec.Meta(ge=0, le=16_000_000)] = 0

    def __post_init__(self) -> None:
        """Refuse the combinations that no single field shows.

        Raises:
            ValueError: Two fields contradict each other.
        """
        if self.steps > self.max_steps:
            raise ValueError(f"default_steps {self.steps} is above max_steps {self.max_steps}")
        if self.model == "stub" and self.device == "cuda":
            raise ValueError("the stub uses no GPU: leave device out, or choose another model")

    @property
    def defaults(self) -> ModelDefaults:
        """The model's own defaults."""
        return MODEL_DEFAULTS[self.model]

    @property
    def steps(self) -> int:
        """Denoising steps of a request that does not say."""
        return self.default_steps or self.defaults.steps

    @property
    def side_limit(self) -> int:
        """Longest width or height in pixels a request may ask for."""
        return self.max_side or self.defaults.max_side

    @property
    def batch_limit(self) -> int:
        """Most images in one denoising loop under this policy."""
        return 1 if self.policy == "none" else self.max_batch

    @property
    def is_stub(self) -> bool:
        """Whether no model computes at all."""
        return self.model == "stub"

    @property
    def loopback_only(self) -> bool:
        """Whether nothing may listen beyond this machine."""
        return self.host in LOOPBACK_HOSTS

    @property
    def cpu_threads(self) -> int:
        """CPU threads for torch: as told, or all cores this process may use but one."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)


def from_strings(arguments: Mapping[str, object]) -> Settings:
    """Settings from `key=value` words, as `serve run serve.app:app model=tiny` hands them over.

    Raises:
        SettingsError: An unknown key, or a value that does not fit its field.
    """
    return _convert(dict(arguments), strict=False)


def from_json(text: Json) -> Settings:
    """Settings from a JSON object.

    Raises:
        SettingsError: Not a JSON object, an unknown key, or a value that does not fit its field.
    """
    try:
        fields = msgspec.json.decode(text)
    except msgspec.DecodeError as err:
        raise SettingsError(f"settings are no valid JSON: {err}") from err
    if not isinstance(fields, dict):
        raise SettingsError('settings must be a JSON object, such as {"model": "tiny"}')
    return _convert(fields, strict=True)


def nearest(word: str, words: list[str]) -> str:
    """A hint towards the word most likely meant: `; did you mean 'x'?`, or the whole list."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; valid: {', '.join(words)}"


def _convert(fields: dict[str, object], *, strict: bool) -> Settings:
    valid = list(Settings.__struct_fields__)
    for key in fields:
        if key not in valid:
            raise SettingsError(f"settings: unknown field '{key}'{nearest(key, valid)}")
    try:
        return msgspec.convert(fields, Settings, strict=strict)
    except msgspec.ValidationError as err:
        raise SettingsError(_explain(str(err), fields)) from err


def _explain(fault: str, fields: Mapping[str, object]) -> str:
    """Turn msgspec's `Expected … - at `$.field`` into a line that starts with the field."""
    match = re.fullmatch(r"(?s)(.*?) - at `\$\.?(\w*)`", fault)
    if match is None or not match[2]:
        return f"settings: {fault}"
    reason, field = match[1], match[2]
    return f"settings: {field}: {reason} (got {fields[field]!r}){_choices(field, fields[field])}"


def _choices(field: str, value: object) -> str:
    """The nearest allowed word of a field that has a closed set of them."""
    info = next(f for f in msgspec.structs.fields(Settings) if f.name == field)
    words = getattr(info.type, "__args__", ())
    if not (words and isinstance(value, str) and all(isinstance(w, str) for w in words)):
        return ""
    return nearest(value, list(words))
