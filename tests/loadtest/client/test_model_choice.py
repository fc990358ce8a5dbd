"""Which of a server's models is loaded, and what is said of it."""

from typing import Any

import pytest

from loadtest.client.model_choice import always_base64, choose
from loadtest.errors import TargetError


def offered(*names: str, **kinds: str) -> dict[str, dict[str, Any]]:
    return {
        name: {"id": name, **({"type": kinds[name]} if name in kinds else {})} for name in names
    }


@pytest.mark.parametrize(
    ("models", "chosen", "said"),
    [
        (offered("a"), "a", None),
        (offered("chat-large", "odd"), "odd", "the only one that may be images' of 2 listed"),
        (offered("gpt-4o", "text-embedding-3", "gpt-image-1"), "gpt-image-1", "looks like images'"),
        (offered("llama-3", "bfl/FLUX.1-dev"), "bfl/FLUX.1-dev", "--model chooses another"),
        (offered("one", "two", two="image"), "two", "looks like images'"),  # it says so itself
        (offered("sd-chat", "sdxl", sdxl="text-generation"), "sd-chat", "of 2 listed"),
        (offered("one", "two"), "one", "the first of 2 listed"),
        (offered("chat-1", "chat-2"), "chat-1", "the first of 2 listed"),
        ({}, None, "lists no models, so requests name none"),
    ],
)  # fmt: skip
def test_one_is_taken_and_said(
    models: dict[str, Any], chosen: str | None, said: str | None
) -> None:
    name, told = choose(models, None, "http://h")
    assert name == chosen
    assert told is None if said is None else said in (told or "")


def test_several_that_make_images_are_not_chosen_among() -> None:
    models = offered("dall-e-3", "gpt-image-1", "gpt-4o", *(f"flux-{k}" for k in range(20)))
    with pytest.raises(TargetError, match=r"name one with --model: dall-e-3, .* and 14 more$"):
        choose(models, None, "http://h")
    assert choose(models, "dall-e-3", "http://h") == ("dall-e-3", None)


def test_one_that_is_not_there_is_said_with_the_one_that_was_meant() -> None:
    models = offered(*(f"vendor/model-{k:05}" for k in range(12_000)))
    with pytest.raises(TargetError, match=r"did you mean 'vendor/model-00007'\?.*and 11,992 more"):
        choose(models, "model-00007", "http://h")
    assert choose({}, "unseen", "http://h")[0] == "unseen"


@pytest.mark.parametrize(
    ("model", "always"),
    [
        ("gpt-image-1", True), ("gpt-image-1-mini", True), ("openai/gpt-image-1.5", True),
        ("azure/openai/gpt-image-1", True), ("chatgpt-image-latest", True), ("GPT-Image-2", True),
        ("openrouter:openai/gpt-image-1", True), ("dall-e-3", False),
        ("sdxl", False), (None, False),
    ],
)  # fmt: skip
def test_models_that_refuse_to_be_asked_for_base64(model: str | None, always: bool) -> None:
    assert always_base64(model) is always


@pytest.mark.timeout(60)
def test_what_an_entry_tells_at_length_is_read_in_part() -> None:
    """Otherwise 100 KB of it took a minute."""
    entries = {"a": {"type": "image" * 200_000}, "b": {"type": "chat"}}
    assert choose(entries, None, "x")[0] == "a"
