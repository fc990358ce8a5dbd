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

from serve.catalog import MODEL_DEFAULTS, ModelDefaults, ModelName
from serve.precision import Dtype
from serve.shortcuts import Shortcuts

Json: TypeAlias = str | bytes

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Deadline = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

Policy = Literal["none", "request", "step"]
MIN_SIDE = 64
ESCAPED_CHAR_BYTES = 12  # of JSON, where an emoji is two escapes: \\ud83e\\udd8a
OTHER_FIELDS_BYTES = 8192


class SettingsError(ValueError):
    """What the user wrote cannot be served; the message says which field and what to do."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides how the server behaves.

    Attributes:
        model: What denoises. `stub` is no model: it waits, then answers a prepared image.
        weights: `random`, a folder saved by diffusers, or a hub id (`owner/name`).
        policy: `step` lets images join and leave the denoiser's batch between steps; `request`
            runs whole-loop batches of compatible requests; `none` runs the stock pipeline an
            image at a time. The latter two are baselines, without admission by deadline.
        replicas: Copies of the model; None: one a visible GPU, one on a CPU.
        device: Where the model runs; `auto` takes the GPUs that can be used. With a GPU in the
            machine, or a torch built for CUDA, and none that can be used, `auto` is an error that
            says why; on a machine without either, a real model runs on the CPU and a line says so.
        dtype: What the weights and activations are computed in; `auto` is bf16 on a GPU, which
            must have it in hardware (compute capability 8.0), and fp32 on a CPU. Under fp16, a VAE
            that overflows in it stays fp32.
        max_batch: Most images of one size in one call of the denoiser.
        max_wait_s: Longest an image waits for others to fill its batch on an idle replica
            (policy `request`).
        max_queue: Most images waiting in one replica; beyond it a request gets 429.
        deadline_s: Seconds in which a request that does not say must be done; one that is
            predicted to take longer gets 429 at once (policy `step`). None: no deadline.
        sizes: Sizes that are warmed up before the replica is ready, as `512x512,1024x1024`; None:
            the model's own. The first is what a request gets that does not say. Others are served
            too, without graphs or compilation.
        buckets: Rows of the denoiser's batch to record or compile for, as `2,16`; a step runs in
            the smallest that holds it. The last is 2 rows for each of `max_batch`. None: some ten,
            all of which take time at the start.
        cache_steps: Every how many steps the whole UNet runs; those between reuse its deep features
            (DeepCache). It changes the images: the error is measured at the start and told in
            `GET /v1/models`. Policy `step`, UNets only. 1: every step is whole.
        cache_layers: Layers of the UNet's last block that run in every step all the same; None: the
            model's own.
        guidance_until: The share of an image's steps with guidance, from the first one on. It
            changes the images; the error is told likewise. Policy `step` only. 1: all.
        graphs: Whether the steps of warmed sizes are recorded once and replayed (policy `step`):
            as CUDA graphs, or on a CPU as traces.
        compile: Whether torch compiles the denoiser's repeated blocks; the first start takes
            longer, later ones find the result in `cache`.
        fp8: Whether the denoiser's large linear layers compute in 8 bits (Hopper and later). The
            error against bf16 is measured at the start and told in `GET /v1/models`.
        fused: Whether norms, gates and residual sums of UNets and VAEs run on a GPU as kernels of
            this project's own, in fewer passes (policy `step`; the baselines are diffusers' own).
            Told in `GET /v1/models`.
        cache: Folder for compiled code; None: `$XDG_CACHE_HOME/viralload` or
            `~/.cache/viralload`.
        ingress: What takes the connections: `haproxy`, Ray's own `proxy` (a third of the
            requests/s), or `auto`, HAProxy where it is installed. `serve run` has the proxy.
        host: Address the HTTP server binds; anything but loopback opens it to the network.
        port: Port of the HTTP server.
        metrics_port: Port of the Prometheus metrics, on this machine's own address; None: any
            free one, told when the server is ready.
        threads: torch's CPU threads; None leaves one core to the others, and takes at least one.
        default_steps: Denoising steps of a request that does not say; None: the model's own.
        max_steps: Most steps a request may ask for; models have 1000 timesteps to step over.
        max_side: Longest width or height in pixels a request may ask for; None: the model's own.
        max_prompt_chars: Longest prompt in characters.
        max_body_bytes: Longest HTTP body; None: what two longest prompts take, however escaped.
        stub_fixed_s: Time the stub takes for a batch, beside its steps.
        stub_step_s: Time the stub takes for one step of a batch, whatever the batch's size.
        stub_image_bytes: Least size of the stub's image files; shorter ones are padded.
        stub_outage: When nothing is served, as `20s+8s`: from 20 s after the stub's first request,
            for 8 s. What had begun goes on after it. None: never.
        stub_servers: Of a stub that is a textbook queue: one line before so many servers, an image
            at a time each, whatever the policy. None: the policy's engine.
        stub_service: Its service time, whose mean is that of an image alone.
        stub_seed: Of the service times drawn.
    """

    model: ModelName = "tiny"
    weights: Annotated[str, msgspec.Meta(min_length=1)] = "random"
    policy: Policy = "step"
    replicas: PositiveInt | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Dtype = "auto"
    max_batch: PositiveInt = 8
    max_wait_s: Seconds = 0.005
    max_queue: PositiveInt = 64
    deadline_s: Deadline | None = 60.0
    sizes: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    buckets: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    cache_steps: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    cache_layers: PositiveInt | None = None
    guidance_until: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    graphs: bool = True
    compile: bool = False
    fp8: bool = False
    fused: bool = True
    cache: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    ingress: Literal["auto", "haproxy", "proxy"] = "auto"
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port | None = None
    threads: PositiveInt | None = None
    default_steps: PositiveInt | None = None
    max_steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 150
    max_side: Annotated[int, msgspec.Meta(ge=64, le=8192)] | None = None
    max_prompt_chars: PositiveInt = 4000
    max_body_bytes: PositiveInt | None = None
    stub_fixed_s: Seconds = 0.01
    stub_step_s: Seconds = 0.002
    stub_image_bytes: Annotated[int, msgspec.Meta(ge=0, le=16_000_000)] = 0
    stub_outage: str | None = None
    stub_servers: PositiveInt | None = None
    stub_service: Literal["fixed", "exponential"] = "fixed"
    stub_seed: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        """Refuse the combinations that no single field shows.

        Raises:
            ValueError: Two fields contradict each other.
        """
        if self.steps > self.max_steps:
            raise ValueError(f"default_steps {self.steps} is above max_steps {self.max_steps}")
        if self.model == "stub" and self.device == "cuda":
            raise ValueError("the stub uses no GPU: leave device out, or choose another model")
        if self.side_limit > self.defaults.side_ceiling:
            raise ValueError(
                f"max_side {self.max_side} is above what {self.model} can make: "
                f"at most {self.defaults.side_ceiling}"
            )
        if self.side_limit < self.defaults.side:
            raise ValueError(
                f"max_side {self.max_side} is below the {self.defaults.side} pixels of an image of "
                f"{self.model} whose request does not say its size"
            )
        try:
            for size in self.warm_sizes:
                self.check_size(*size)
        except ValueError as err:
            raise ValueError(f"sizes: {err}") from None
        self._check_buckets()
        self._check_shortcuts()
        if self.outage_s is not None and not self.is_stub:
            raise ValueError("stub_outage: only the stub has one; leave it out, or set model=stub")
        if self.stub_servers is not None and not self.is_stub:
            raise ValueError(
                "stub_servers: only the stub has them; leave it out, or set model=stub"
            )
        if self.stub_servers is not None and self.stub_outage is not None:
            raise ValueError(
                "stub_outage: a stub with stub_servers has none; leave one of them out"
            )
        if self.stub_service != "fixed" and self.stub_servers is None:
            raise ValueError("stub_service: it is drawn for stub_servers only; set those, too")

    def _check_buckets(self) -> None:
        """Refuse buckets that do not rise to the largest batch.

        Raises:
            ValueError: They do not.
        """
        if self.buckets is None:
            return
        most = 2 * self.batch_limit
        rows = self.batch_rows
        if rows is None or rows != sorted(set(rows)) or rows[-1] != most or rows[0] < 1:
            raise ValueError(
                f"buckets: '{self.buckets}' must be rising numbers of rows that end with {most}, "
                f"twice max_batch, such as 2,{most}"
            )

    def _check_shortcuts(self) -> None:
        """Refuse shortcuts where they cannot be taken.

        Raises:
            ValueError: The policy or the model has none.
        """
        taken = [
            name
            for name, value in (
                ("cache_steps", self.cache_steps),
                ("guidance_until", self.guidance_until),
            )
            if value != 1
        ]
        if taken and self.is_stub:
            raise ValueError(f"{taken[0]}: the stub denoises nothing; leave it out")
        if taken and self.policy != "step":
            raise ValueError(
                f"{taken[0]}: policy={self.policy} runs the stock pipeline's loop; "
                "leave it out, or set policy=step"
            )
        if self.cache_layers is not None and self.cache_steps == 1:
            raise ValueError("cache_layers: it says nothing without cache_steps; set that, too")
        layers = self.defaults.unet_layers
        if self.cache_steps > 1 and layers is None:
            raise ValueError(
                f"cache_steps: {self.model} has no UNet whose deep features could be reused; "
                "leave it out"
            )
        if self.cache_layers is not None and layers is not None and self.cache_layers > layers:
            raise ValueError(
                f"cache_layers: the last block of {self.model} has {layers}; use 1 to {layers}"
            )

    @property
    def batch_rows(self) -> list[int] | None:
        """The buckets in rows; None: unless told, or they are no numbers."""
        words = [] if self.buckets is None else self.buckets.split(",")
        numbers = [word.strip() for word in words]
        is_list = bool(numbers) and all(re.fullmatch(r"\d{1,5}", number) for number in numbers)
        return [int(number) for number in numbers] if is_list else None

    @property
    def shortcuts(self) -> Shortcuts:
        """Which steps of an image are cut short."""
        return Shortcuts(cache_steps=self.cache_steps, guidance_until=self.guidance_until)

    @property
    def shallow_layers(self) -> int:
        """Layers of the UNet's last block that every step runs, where deep features are reused."""
        return self.cache_layers or self.defaults.cache_layers

    @property
    def outage_s(self) -> tuple[float, float] | None:
        """When the stub's outage begins, from its first request, and how long it lasts.

        Raises:
            ValueError: `stub_outage` is none.
        """
        return None if self.stub_outage is None else parse_outage(self.stub_outage)

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
    def warm_sizes(self) -> list[tuple[int, int]]:
        """Widths and heights in pixels to be ready for.

        Raises:
            ValueError: `sizes` is no list of sizes.
        """
        if self.sizes is None:
            return [(self.defaults.side, self.defaults.side)]
        sizes = [parse_size(word.strip()) for word in self.sizes.split(",")]
        return list(dict.fromkeys(sizes))

    def check_size(self, width: int, height: int) -> None:
        """Make sure that the model can make images of that size.

        Raises:
            ValueError: It cannot; the text says which sizes it can make.
        """
        step, limit, side = self.defaults.side_step, self.side_limit, self.defaults.side
        for pixels in (width, height):
            if pixels % step or not MIN_SIDE <= pixels <= limit:
                raise ValueError(
                    f"{width}x{height} cannot be made; both sides must be multiples of {step} "
                    f"from {MIN_SIDE} to {limit}, such as {side}x{side}"
                )

    @property
    def batch_limit(self) -> int:
        """Most images in one denoising loop under this policy."""
        return 1 if self.policy == "none" else self.max_batch

    @property
    def body_limit(self) -> int:
        """Longest HTTP body in bytes."""
        texts = 2 * self.max_prompt_chars * ESCAPED_CHAR_BYTES
        return self.max_body_bytes or texts + OTHER_FIELDS_BYTES

    @property
    def is_stub(self) -> bool:
        """Whether no model computes at all."""
        return self.model == "stub"

    @property
    def cpu_threads(self) -> int:
        """CPU threads for torch: as told, or all cores this process may use but one."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of a `512x768`, which others write `512X768` or `512*768`.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})\s*[xX×*]\s*([1-9][0-9]{0,5})", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no size; write WIDTHxHEIGHT in pixels, such as 512x512")
    return int(match[1]), int(match[2])


def parse_outage(text: str) -> tuple[float, float]:
    """Begin and length in seconds of a `20s+8s`.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s\+(\d+(?:\.\d+)?)s", text)
    if match is None:
        raise ValueError(f"stub_outage: '{text}' is no outage; write BEGINs+LENGTHs, as 20s+8s")
    return float(match[1]), float(match[2])


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
