"""What clients written for other servers and in other languages send."""

import codecs
import gzip
import json
from typing import Any

import msgspec
import pytest

from serve.api.field_hints import OURS, hint
from serve.api.requests import ApiError, ImageRequest, is_blank, parse
from serve.api.responses import model_entry, model_list
from serve.engine.request import Order
from serve.settings import Settings

TINY = Settings()
FOX = {"prompt": "a fox"}


def ask(**fields: Any) -> Order:
    return parse(json.dumps(FOX | fields).encode(), TINY)


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("floats", "whole"),
    [
        ({"n": 2.0}, {"n": 2}),
        ({"num_inference_steps": 7.0}, {"num_inference_steps": 7}),
        ({"seed": 3.0}, {"seed": 3}),
        ({"stream": True, "partial_images": 1.0}, {"stream": True, "partial_images": 1}),
        (
            {"output_format": "jpeg", "output_compression": 80.0},
            {"output_format": "jpeg", "output_compression": 80},
        ),
    ],
)
def test_whole_numbers_may_be_floats(floats: dict[str, Any], whole: dict[str, Any]) -> None:
    """There are languages whose JSON has no other numbers."""
    fixed = {"seed": 1}
    assert ask(**fixed | floats) == ask(**fixed | whole)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 1.5}, "n"),
        ({"n": 0.0}, "n"),
        ({"n": 1e300}, "n"),
        ({"n": float("inf")}, "n"),
        ({"n": "2"}, "n"),
        ({"num_inference_steps": 1e-9}, "num_inference_steps"),
        ({"seed": 1.8446744073709552e19}, "seed"),  # which whole number this was, nobody knows
    ],
)
def test_what_is_no_whole_number_is_refused(fields: dict[str, Any], param: str) -> None:
    assert (refusal(**fields).status, refusal(**fields).param) == (400, param)


@pytest.mark.parametrize("seed", [-1, -1.0, None])
def test_a_seed_of_minus_one_is_any(seed: float | None) -> None:
    drawn = {ask(seed=seed).rows[0].seed for _ in range(8)}
    assert len(drawn) == 8
    assert all(0 <= each < 2**64 for each in drawn)


def test_torch_takes_every_seed_that_is_taken() -> None:
    torch = pytest.importorskip("torch")
    assert torch.Generator().manual_seed(ask(seed=2**64 - 1).rows[0].seed) is not None


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    body = json.dumps(FOX | {"seed": 1}).encode()
    assert parse(codecs.BOM_UTF8 + body, TINY) == parse(body, TINY)
    with pytest.raises(ApiError, match="no valid JSON"):
        parse(codecs.BOM_UTF8 * 2 + body, TINY)


@pytest.mark.parametrize(
    "prompt", [" ", "\t\r\n", "\u3000\u00a0", "\u200b\ufeff", "\x00", "\u2028"]
)
def test_a_blank_prompt_is_refused(prompt: str) -> None:
    assert is_blank(prompt)
    assert "say what to draw" in refusal(prompt=prompt).message
    assert ask(negative_prompt=prompt).rows[0].negative_prompt == prompt  # nothing to avoid


@pytest.mark.parametrize("prompt", [".", " x ", "\U0001f98a", "狐", "0"])
def test_whatever_shows_is_a_prompt(prompt: str) -> None:
    assert not is_blank(prompt)
    assert ask(prompt=prompt).rows[0].prompt == prompt


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("steps", "use 'num_inference_steps'"),
        ("sampling_steps", "use 'num_inference_steps'"),
        ("width", "use 'size', as WIDTHxHEIGHT"),
        ("height", "use 'size', as WIDTHxHEIGHT"),
        ("cfg_scale", "use 'guidance_scale'"),
        ("guidanceScale", "use 'guidance_scale'"),
        ("negativePrompt", "use 'negative_prompt'"),
        ("num-images", "use 'n'"),
        ("batch_size", "use 'n'"),
        ("sampler_name", "use 'scheduler'"),
        ("extra_body", "send what is in it beside 'prompt'"),
        ("guidence_scale", "did you mean 'guidance_scale'?"),
        ("lora", "valid: prompt, model, n"),
    ],
)
def test_an_unknown_field_is_hinted_at_the_right_one(field: str, told: str) -> None:
    assert refusal(**{field: 1}).param == field
    assert refusal(**{field: 1}).message.startswith(f"{field}: unknown field; {told}")


def raw_refusal(body: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        parse(body, TINY)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"Prompt": "a fox"}', "Prompt: unknown field; use 'prompt'"),  # not "is missing"
        (b'{"inputs": "a fox"}', "inputs: unknown field; use 'prompt'"),
        (b"{}", "prompt: is missing; say what to draw"),
        (b'{"prompt": ""}', "prompt: is empty; say what to draw"),
        (b'{"prompt": "a", "n": "2"}', "n: should be a valid integer; send it without quotes"),
        (b'{"prompt": "a", "stream": "True"}', "without quotes"),
        (b'{"prompt": "a", "n": "two"}', "n: should be a valid integer"),
        (gzip.compress(b'{"prompt": "a"}'), "packed with gzip, which is not taken"),
        ('{"prompt": "a"}'.encode("utf-16"), "send JSON in UTF-8"),
        ('{"prompt": "a"}'.encode("utf-32-be"), "send JSON in UTF-8"),
        (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na', "is a form"),
        (b"prompt=a", "no valid JSON"),
        (b'{"prompt": "a", "size": "99999x8"}', "99999x8 cannot be made"),  # a size, for all that
        ('{"prompt": "a", "size": "６４x64"}'.encode(), "is no size"),
    ],
)
def test_what_is_wrong_is_named_with_its_cause(body: bytes, told: str) -> None:
    assert told in raw_refusal(body)


@pytest.mark.parametrize("size", ["64x128", "64X128", "64 x 128", "64×128", "64*128", " 64x128"])
def test_sizes_as_others_write_them(size: str) -> None:
    recipe = ask(size=size).recipe
    assert (recipe.width, recipe.height) == (64, 128)


def test_hints_name_fields_that_there_are() -> None:
    fields = list(ImageRequest.model_fields)
    assert set(OURS.values()) <= set(fields)
    assert not set(OURS) & set(fields)
    assert hint("STEPS", fields) == "; use 'num_inference_steps'"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_two_longest_prompts_fit_into_the_body_however_escaped(*, ascii_only: bool) -> None:
    longest = "\U0001f98a" * TINY.max_prompt_chars
    fields = {**FOX, "prompt": longest, "negative_prompt": longest, "user": "u" * 256, "n": 1}
    body = json.dumps(fields, ensure_ascii=ascii_only, indent=2).encode()
    assert len(body) <= TINY.body_limit
    assert parse(body, TINY).rows[0].negative_prompt == longest


def test_the_bodys_limit_follows_the_prompts_unless_it_is_told() -> None:
    assert TINY.body_limit == 2 * 12 * 4000 + 8192
    assert Settings(max_prompt_chars=100).body_limit == 2 * 12 * 100 + 8192
    assert Settings(max_body_bytes=20_000).body_limit == 20_000


def test_one_model_is_told_as_the_list_tells_it() -> None:
    listed = msgspec.json.decode(model_list(TINY, {"device": "cpu"}))["data"]
    assert listed == [msgspec.json.decode(model_entry(TINY, {"device": "cpu"}))]
