"""The wire contract: OpenAI's Images API, its request, and its error body.

    POST /v1/images/generations    prompt, n, size, stream, … as OpenAI; and negative_prompt,
                                   num_inference_steps, guidance_scale, seed, scheduler,
                                   priority, deadline_s
    GET  /v1/models[/{id}]         the one model served

ApiError
    a request that is answered with an error; carries the status, the text and the headers
"""

import codecs
import random
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from serve.api.field_hints import hint
from serve.catalog import SchedulerName
from serve.engine.request import Encoding, Order, OutputFormat, Priority, Recipe, Row
from serve.settings import Settings, nearest, parse_size

MAX_IMAGES = 10
MAX_PREVIEWS = 3
MAX_DEADLINE_S = 86400.0
SEED_LIMIT = 2**64  # torch's generators take as much, and ComfyUI draws as far
ANY_SEED = -1  # what other servers' clients send for "draw one"
EXACT_FLOAT = 2**53  # up to here every whole number is a float of its own
INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")  # Unicode's categories of what draws nothing

ERROR_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 503: "overloaded_error"}


class ApiError(Exception):
    """A request answered with OpenAI's error body.

    Args:
        status: HTTP status.
        message: What is wrong and what to do.
        param: The field at fault.
        code: A word that programs can compare.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """OpenAI's error object as JSON."""
        default = "invalid_request_error" if self.status < 500 else "server_error"
        error = {
            "message": self.message,
            "type": ERROR_TYPES.get(self.status, default),
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})


def _whole(value: object) -> object:
    """1 for 1.0: there are languages whose JSON has no other numbers. Anything else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
        return int(value)
    return value


Whole = Annotated[int, BeforeValidator(_whole)]


class ImageRequest(BaseModel):
    """The body of a generation request. Fields of OpenAI's that change nothing here are taken.

    `quality`, `style`, `moderation`, `complexity`, `user` and `safety_identifier` are accepted
    and ignored: the answer is a valid one whatever they say. What would change the answer's
    form and is not offered (`url`, transparency) is refused.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: Annotated[str, Field(min_length=1)]
    model: str | None = None
    n: Annotated[Whole, Field(ge=1, le=MAX_IMAGES)] | None = None
    size: str | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[Whole, Field(ge=0, le=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[Whole, Field(ge=0, le=MAX_PREVIEWS)] | None = None
    background: Literal["auto", "opaque"] | None = None
    quality: str | None = None
    style: str | None = None
    moderation: str | None = None
    complexity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    negative_prompt: str | None = None
    num_inference_steps: Annotated[Whole, Field(ge=1)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    seed: Annotated[Whole, Field(ge=ANY_SEED, lt=SEED_LIMIT)] | None = None
    scheduler: str | None = None
    priority: Priority | None = None
    deadline_s: Annotated[float, Field(gt=0, le=MAX_DEADLINE_S, allow_inf_nan=False)] | None = None


def parse(body: bytes, settings: Settings) -> Order:
    """The order in a request's body.

    Raises:
        ApiError: 400, naming the field and the remedy.
    """
    try:
        request = ImageRequest.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as err:
        _refuse(err, body)
    if request.model not in (None, settings.model):
        raise ApiError(
            400,
            f"model: '{request.model}' is not served here; use '{settings.model}' or leave it out",
            param="model",
            code="model_not_found",
        )
    for field in ("prompt", "negative_prompt"):
        _check_prompt(field, getattr(request, field) or "", settings.max_prompt_chars)
    if is_blank(request.prompt):
        _bad("prompt", "is blank; say what to draw")
    width, height = _size(request.size, settings)
    guidance = request.guidance_scale
    recipe = Recipe(
        width=width,
        height=height,
        steps=_steps(request.num_inference_steps, settings),
        guidance_scale=settings.defaults.guidance_scale if guidance is None else guidance,
        scheduler=_scheduler(request.scheduler, settings),
    )
    _check_stream(request)
    return Order(
        recipe=recipe,
        rows=_rows(request),
        encoding=_encoding(request),
        priority=request.priority or "paying",
        deadline_s=request.deadline_s or settings.deadline_s,
        stream=bool(request.stream),
        previews=request.partial_images or 0,
    )


def _rows(request: ImageRequest) -> tuple[Row, ...]:
    """A row an image; image i of seed s draws from generator seed s + i."""
    is_any = request.seed in (None, ANY_SEED)
    seed = random.randrange(SEED_LIMIT) if is_any or request.seed is None else request.seed
    return tuple(
        Row(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or "",
            seed=(seed + i) % SEED_LIMIT,
        )
        for i in range(request.n or 1)
    )


def _encoding(request: ImageRequest) -> Encoding:
    output_format = request.output_format or "png"
    quality = request.output_compression
    if output_format == "png" and quality not in (None, 100):
        _bad("output_compression", f"{quality} means nothing for png; use jpeg or webp")
    return Encoding(
        output_format=output_format,
        quality=None if quality is None or output_format == "png" else max(quality, 1),
    )


def _size(size: str | None, settings: Settings) -> tuple[int, int]:
    if size in (None, "auto"):
        return settings.warm_sizes[0]
    try:
        width, height = parse_size(size or "")
        settings.check_size(width, height)
    except ValueError as err:
        _bad("size", str(err))
    return width, height


def _scheduler(name: str | None, settings: Settings) -> SchedulerName:
    offered = settings.defaults.schedulers
    chosen = next((each for each in offered if name in (None, each)), None)
    if chosen is None:
        hint = nearest(name or "", list(offered))
        _bad("scheduler", f"'{name}' is not offered for {settings.model}{hint}")
    return chosen


def _check_stream(request: ImageRequest) -> None:
    if request.stream and (request.n or 1) > 1:
        _bad("n", "a stream carries one image; leave n or stream out")
    if request.partial_images and not request.stream:
        _bad("partial_images", "previews need a stream; send stream=true, or leave this out")


def _steps(steps: int | None, settings: Settings) -> int:
    if steps is not None and steps > settings.max_steps:
        _bad("num_inference_steps", f"{steps} is too many; at most {settings.max_steps}")
    return steps or settings.steps


def _check_prompt(field: str, text: str, max_chars: int) -> None:
    if len(text) > max_chars:
        _bad(field, f"{len(text)} characters are too many; at most {max_chars}")


def is_blank(text: str) -> bool:
    """Whether nothing of a text shows: it is empty, or spaces and control characters alone."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def _refuse(err: ValidationError, body: bytes) -> NoReturn:
    """Translate pydantic's first finding; an unknown field before one that is missing."""
    faults: Any = err.errors(include_url=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    if faults[0]["type"] != "missing":
        fault = faults[0]
    field = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "json_invalid":
        raise ApiError(400, _no_json(body, fault["msg"]), code="invalid_json") from err
    if not field:
        _bad(None, 'the body must be a JSON object, such as {"prompt": "a red fox"}')
    if fault["type"] == "extra_forbidden":
        _bad(field, f"unknown field{hint(field, list(ImageRequest.model_fields))}")
    if fault["type"] == "missing":
        _bad(field, "is missing; say what to draw")
    if fault["type"] == "string_too_short":
        _bad(field, "is empty; say what to draw")
    reason = fault["msg"].removeprefix("Input ")
    quoted = "" if not _is_quoted(fault) else "; send it without quotes"
    _bad(field, f"{reason}{quoted}{REMEDIES.get(field, '')}")


def _no_json(body: bytes, said: str) -> str:
    """What a body is that is no JSON; `said` is the parser's own finding."""
    if body.startswith(b"\x1f\x8b"):
        return "the body is packed with gzip, which is not taken: send it as it is"
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in body[:4]:
        return "the body is UTF-16 or UTF-32: send JSON in UTF-8"
    if body.startswith(b"--") and b"form-data" in body[:400]:
        return "the body is a form, which is not taken: send JSON"
    told = said.removeprefix("Invalid JSON: ")
    return f'the body is no valid JSON: {told}; send an object such as {{"prompt": "a red fox"}}'


def _is_quoted(fault: Any) -> bool:
    """Whether a number, true or false was sent as text."""
    is_plain = fault["type"] in ("int_type", "float_type", "bool_type")
    if not is_plain or not isinstance(fault["input"], str):
        return False
    try:
        return isinstance(msgspec.json.decode(fault["input"].lower()), int | float)
    except msgspec.DecodeError:
        return False


REMEDIES = {
    "seed": "; leave it out, or send -1, for any",
    "response_format": "; images come as base64 in the body, never as a URL",
    "background": "; images have no transparency",
}


def _bad(field: str | None, reason: str) -> NoReturn:
    message = f"{field}: {reason}" if field else reason
    raise ApiError(400, message, param=field, code="invalid_value")
