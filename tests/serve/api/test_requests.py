import base64
import json
from typing import Any

import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent

from serve.api.requests import ApiError, parse
from serve.api.responses import (
    answer,
    completed_event,
    error_event,
    model_list,
    partial_event,
    server_timing,
)
from serve.engine.request import Done, Encoding, Order, OutputFormat, Recipe, Timing
from serve.settings import Settings

TINY = Settings()


def body(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a fox", **fields}).encode()


def done(images: list[bytes]) -> Done:
    timing = Timing(
        queue_s=0.5, text_s=0.001, denoise_s=2.0, decode_s=0.25, encode_s=0.0125, batch_mean=2.5
    )
    return Done(images=images, timing=timing)


def test_a_bare_prompt_gets_the_models_defaults() -> None:
    order = parse(body(), TINY)
    assert order.recipe == Recipe(width=64, height=64, steps=20, guidance_scale=7.5)
    assert order.encoding == Encoding(output_format="png")
    assert [row.prompt for row in order.rows] == ["a fox"]
    assert (order.priority, order.deadline_s) == ("paying", 60.0)
    assert (order.stream, order.previews) == (False, 0)


def test_everything_asked_is_ordered() -> None:
    order = parse(
        body(
            n=3,
            size="128x64",
            negative_prompt="dogs",
            num_inference_steps=7,
            guidance_scale=3,
            seed=41,
            output_format="webp",
            output_compression=50,
            scheduler="dpm++2m",
            priority="free",
            deadline_s=2.5,
        ),
        TINY,
    )
    assert order.recipe == Recipe(
        width=128, height=64, steps=7, guidance_scale=3.0, scheduler="dpm++2m"
    )
    assert (order.priority, order.deadline_s) == ("free", 2.5)
    assert order.encoding == Encoding(output_format="webp", quality=50)
    assert [row.seed for row in order.rows] == [41, 42, 43]
    assert {row.negative_prompt for row in order.rows} == {"dogs"}


@pytest.mark.parametrize("previews", [0, 1, 3])
def test_a_stream_with_previews(previews: int) -> None:
    order = parse(body(stream=True, partial_images=previews), TINY)
    assert (order.stream, order.previews) == (True, previews)


@pytest.mark.parametrize(
    ("model", "asked", "scheduler"),
    [
        ("tiny", None, "ddim"),
        ("tiny", "euler", "euler"),
        ("sdxl", None, "euler"),
        ("flux-schnell", None, "flow-euler"),
        ("stub", "flow-euler", "flow-euler"),
    ],
)
def test_the_scheduler_is_the_models_own_or_one_of_its_others(
    model: Any, asked: str | None, scheduler: str
) -> None:
    assert parse(body(scheduler=asked), Settings(model=model)).recipe.scheduler == scheduler


@pytest.mark.parametrize(
    ("own_s", "asked_s", "deadline_s"),
    [(60.0, None, 60.0), (60.0, 5, 5.0), (5.0, 60, 60.0), (None, None, None), (None, 5, 5.0)],
)
def test_a_request_has_the_servers_deadline_or_its_own(
    own_s: float | None, asked_s: float | None, deadline_s: float | None
) -> None:
    order = parse(body(deadline_s=asked_s), Settings(deadline_s=own_s))
    assert order.deadline_s == deadline_s


def test_seeds_wrap_and_differ_without_one() -> None:
    last = 2**64 - 1
    assert [row.seed for row in parse(body(seed=last, n=2), TINY).rows] == [last, 0]
    assert parse(body(), TINY).rows != parse(body(), TINY).rows


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "tiny"},
        {"size": "auto"},
        {"response_format": "b64_json"},
        {"quality": "hd", "style": "vivid", "user": "u-1", "moderation": "low"},
        {"background": "opaque", "stream": False, "partial_images": 0},
        {"n": None, "size": None, "seed": None, "output_format": None},
        {"scheduler": None, "priority": None, "deadline_s": None, "stream": None},
        {"scheduler": "ddim", "priority": "paying", "deadline_s": 60, "partial_images": None},
    ],
)
def test_harmless_fields_change_nothing(fields: dict[str, Any]) -> None:
    assert parse(body(**{**fields, "seed": 1}), TINY) == parse(body(seed=1), TINY)


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"n": "2"}, "n", "valid integer"),
        ({"n": True}, "n", "valid integer"),
        ({"prompt": ""}, "prompt", "is empty; say what to draw"),
        ({"prompt": 5}, "prompt", "valid string"),
        ({"prompt": "x" * 4001}, "prompt", "4001 characters are too many; at most 4000"),
        ({"negative_prompt": "x" * 4001}, "negative_prompt", "too many"),
        ({"size": "huge"}, "size", "write WIDTHxHEIGHT"),
        ({"size": "64"}, "size", "write WIDTHxHEIGHT"),
        ({"size": "-64x64"}, "size", "write WIDTHxHEIGHT"),
        ({"size": "65x64"}, "size", "multiples of 8 from 64 to 512"),
        ({"size": "0x64"}, "size", "write WIDTHxHEIGHT"),
        ({"size": "8192x8192"}, "size", "multiples of 8 from 64 to 512"),
        ({"num_inference_steps": 0}, "num_inference_steps", "greater than or equal to 1"),
        ({"num_inference_steps": 151}, "num_inference_steps", "at most 150"),
        ({"guidance_scale": -1}, "guidance_scale", "greater than or equal to 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "finite number"),
        ({"guidance_scale": float("inf")}, "guidance_scale", "finite number"),
        ({"seed": -2}, "seed", "leave it out, or send -1, for any"),
        ({"seed": 2**64}, "seed", "leave it out, or send -1, for any"),
        ({"model": "dall-e-3"}, "model", "use 'tiny' or leave it out"),
        ({"response_format": "url"}, "response_format", "base64 in the body"),
        ({"output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_compression": 50}, "output_compression", "use jpeg or webp"),
        ({"stream": True, "n": 2}, "n", "a stream carries one image; leave n or stream out"),
        ({"stream": 1}, "stream", "valid boolean"),
        ({"partial_images": 2}, "partial_images", "need a stream; send stream=true"),
        ({"stream": False, "partial_images": 2}, "partial_images", "send stream=true"),
        ({"stream": True, "partial_images": 4}, "partial_images", "less than or equal to 3"),
        ({"stream": True, "partial_images": -1}, "partial_images", "greater than or equal to 0"),
        ({"stream": True, "partial_images": 1.5}, "partial_images", "valid integer"),
        ({"scheduler": "eular"}, "scheduler", "'eular' is not offered for tiny; did you mean 'eu"),
        ({"scheduler": "flow-euler"}, "scheduler", "not offered for tiny"),
        ({"scheduler": ""}, "scheduler", "valid: ddim, euler, dpm++2m"),
        ({"scheduler": 7}, "scheduler", "valid string"),
        ({"priority": "gold"}, "priority", "'paying' or 'free'"),
        ({"deadline_s": 0}, "deadline_s", "greater than 0"),
        ({"deadline_s": -1}, "deadline_s", "greater than 0"),
        ({"deadline_s": 86401}, "deadline_s", "less than or equal to 86400"),
        ({"deadline_s": float("inf")}, "deadline_s", "finite number"),
        ({"deadline_s": "soon"}, "deadline_s", "valid number"),
        ({"num_inference_steps": -5}, "num_inference_steps", "greater than or equal to 1"),
        ({"num_inference_steps": 2.5}, "num_inference_steps", "valid integer"),
        ({"guidance_scale": float("-inf")}, "guidance_scale", "finite number"),
        ({"guidance_scale": 1e9}, "guidance_scale", "less than or equal to 100"),
        ({"background": "transparent"}, "background", "no transparency"),
        ({"promt": "x"}, "promt", "did you mean 'prompt'?"),
    ],
)
def test_bad_fields(fields: dict[str, Any], param: str, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body(**fields), TINY)
    error = json.loads(caught.value.body())["error"]
    assert caught.value.status == 400
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert told in error["message"]


@pytest.mark.parametrize(
    ("model", "step"),
    [
        ("tiny", 8),
        ("tiny-sdxl", 8),
        ("sdxl", 8),
        ("tiny-sd35", 16),
        ("sd35-medium", 16),
        ("tiny-flux", 16),
        ("flux-schnell", 16),
    ],
)
def test_sizes_go_by_what_the_model_can_make(model: Any, step: int) -> None:
    settings = Settings(model=model)
    recipe = parse(body(size=f"{64 + step}x64"), settings).recipe
    assert (recipe.width, recipe.height) == (64 + step, 64)
    with pytest.raises(ApiError, match=f"multiples of {step} from 64"):
        parse(body(size=f"{64 + step // 2}x64"), settings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b"prompt=a+fox", "no valid JSON"),
        (b"\xff\xfe", "send JSON in UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'"a fox"', "must be a JSON object"),
        (b"{}", "prompt: is missing"),
    ],
)
def test_bad_bodies(text: bytes, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(text, TINY)
    assert caught.value.status == 400
    assert told in caught.value.message


def test_the_answer_is_json_with_the_files_as_they_are() -> None:
    order = Order(
        recipe=Recipe(width=128, height=64, steps=20, guidance_scale=1.0),
        rows=(),
        encoding=Encoding(output_format="jpeg"),
    )
    files = [base64.b64encode(b"one"), base64.b64encode(b"two")]
    told = json.loads(answer(order, done(files)))
    assert [base64.b64decode(image["b64_json"]) for image in told["data"]] == [b"one", b"two"]
    assert (told["output_format"], told["size"]) == ("jpeg", "128x64")
    assert told["created"] > 0


def test_server_timing_is_in_milliseconds() -> None:
    assert server_timing(done([])) == (
        "queue;dur=500.000, text;dur=1.000, denoise;dur=2000.000, "
        "decode;dur=250.000, encode;dur=12.500"
    )


def event(sent: bytes) -> tuple[str, dict[str, Any]]:
    """Name and data of one server-sent event."""
    name, data = sent.decode().removesuffix("\n\n").split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_events_are_openais_own(output_format: OutputFormat) -> None:
    order = Order(
        recipe=Recipe(width=128, height=64, steps=20, guidance_scale=1.0),
        rows=(),
        encoding=Encoding(output_format=output_format),
        stream=True,
        previews=2,
    )
    file = base64.b64encode(b"pixels")
    name, data = event(partial_event(order, 1, file))
    partial = ImageGenPartialImageEvent.model_validate(data, strict=True)
    assert name == partial.type
    assert partial.partial_image_index == 1
    name, data = event(completed_event(order, done([file])))
    completed = ImageGenCompletedEvent.model_validate(data, strict=True)
    assert name == completed.type
    assert completed.usage.total_tokens == 0  # OpenAI counts what it bills
    for each in (partial, completed):
        assert base64.b64decode(each.b64_json) == b"pixels"
        assert (each.size, each.output_format) == ("128x64", output_format)
        assert each.created_at > 0
        assert not each.model_extra


def test_an_error_on_the_way_is_an_event_with_openais_error_body() -> None:
    err = ApiError(503, 'lost:\nits "device"', code="model_failed")
    assert event(error_event(err)) == ("error", json.loads(err.body()))


def test_the_model_list_says_what_a_load_generator_asks() -> None:
    settings = Settings(model="stub", policy="none", replicas=2)
    (entry,) = json.loads(model_list(settings, {"device": "cpu", "flop_per_image": 1e12}))["data"]
    assert entry["id"] == "stub"
    told = entry["viralload"]
    assert (told["default_size"], told["default_steps"]) == ("512x512", 20)
    assert (told["is_stub"], told["replicas"], told["device"]) == (True, 2, "cpu")
    assert (told["policy"], told["weights"], told["max_batch"]) == ("none", "random", 1)
    assert (told["max_queue"], told["deadline_s"], told["flop_per_image"]) == (64, 60.0, 1e12)
    assert told["schedulers"] == ["euler", "ddim", "dpm++2m", "flow-euler"]
    assert told["warm_sizes"] == ["512x512"]
