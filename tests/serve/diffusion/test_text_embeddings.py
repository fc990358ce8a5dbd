"""Texts to conditionings: batched, cached, cut. torch comes inside."""

from typing import Any

import pytest

from tests.serve.diffusing import EXACT, TWINS, error, quiet, twin

torch = pytest.importorskip("torch")
pytestmark = [quiet, pytest.mark.usefixtures("inference")]

# CLIP's and T5's tokens of the twins: one a byte, and the marks at the ends.
CLIP, T5 = 77, 256


class Counted:
    """A network that notes which texts it is asked to embed."""

    def __init__(self, pipeline: Any) -> None:
        from serve.models.networks import network_of

        self._network = network_of(pipeline)
        self.calls: list[tuple[list[str], bool]] = []

    def embed(self, texts: Any, *, negative: bool) -> Any:
        self.calls.append((list(texts), negative))
        return self._network.embed(texts, negative=negative)


def texts(*words: str, is_negative: bool = False) -> Any:
    from serve.diffusion.text_embeddings import Text

    return [Text(each, is_negative=is_negative) for each in words]


def embedder(model: str, **how: Any) -> tuple[Any, Counted]:
    from serve.diffusion.text_embeddings import Texts

    network: Any = Counted(twin(model))
    return Texts(network, **how), network


def test_texts_are_embedded_once_and_together() -> None:
    embed, network = embedder("tiny")
    embed.embed([*texts("a", "b", "a"), *texts("", is_negative=True), *texts("c")])
    assert network.calls == [(["a", "b", "c"], False), ([""], True)]
    embed.embed([*texts("b", "d"), *texts("", is_negative=True)])
    assert network.calls[2:] == [(["d"], False)]
    assert embed.embedded == 5


def test_a_text_is_another_as_a_negative_one() -> None:
    embed, _ = embedder("tiny-sdxl")
    plain, negative = texts("")[0], texts("", is_negative=True)[0]
    made = embed.embed([plain, negative])
    assert made[plain][0].any()
    assert not any(each.any() for each in made[negative])  # SDXL: zeros, as diffusers has it


def test_sdxls_zeros_are_the_empty_negative_texts_own() -> None:
    embed, _ = embedder("tiny-sdxl")
    empty, dogs = texts("", "dogs", is_negative=True)
    made = embed.embed([dogs, empty])
    alone = twin("tiny-sdxl").encode_prompt("dogs", do_classifier_free_guidance=False)
    assert error(made[dogs][0], alone[0][0]) <= EXACT
    assert error(made[dogs][1], alone[2][0]) <= EXACT
    assert not made[empty][0].any()


def test_sdxls_that_do_not_force_zeros_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = twin("tiny-sdxl")
    config = {**pipeline.config, "force_zeros_for_empty_prompt": False}
    monkeypatch.setattr(pipeline, "_internal_dict", type(pipeline.config)(config))
    embed, _ = embedder("tiny-sdxl")
    (empty,) = texts("", is_negative=True)
    assert embed.embed([empty])[empty][0].any()


def test_batches_are_capped() -> None:
    embed, network = embedder("tiny")
    embed.embed(texts(*map(str, range(40))))
    assert [len(words) for words, _ in network.calls] == [16, 16, 8]


def test_the_least_recently_used_are_forgotten() -> None:
    embed, network = embedder("tiny", cached=3)
    embed.embed(texts("a", "b", "c"))
    embed.embed(texts("a"))  # used again: b is the oldest now
    embed.embed(texts("d"))
    network.calls.clear()
    embed.embed(texts("a", "c", "d"))
    assert network.calls == []
    embed.embed(texts("b"))
    assert network.calls == [(["b"], False)]


def test_more_texts_at_once_than_are_kept() -> None:
    embed, _ = embedder("tiny", cached=2)
    made = embed.embed(texts("a", "b", "c", "d"))
    assert len(made) == 4
    assert len(embed._known) == 2


def test_what_is_kept_does_not_keep_its_batch() -> None:
    embed, _ = embedder("tiny-sdxl")
    made = embed.embed(texts("a", "b", "c"))
    for conditioning in made.values():
        for each in conditioning:
            assert each.untyped_storage().nbytes() == each.nbytes


@pytest.mark.parametrize("model", TWINS)
def test_a_text_in_a_batch_is_what_it_is_alone(model: str) -> None:
    words = texts("", "a red fox", "two horses " * 60)
    together, _ = embedder(model)
    made = together.embed(words)
    for text in words:
        alone, _ = embedder(model)
        expected = alone.embed([text])[text]
        for one, other in zip(made[text], expected, strict=True):
            assert one.shape == other.shape
            assert error(one, other) <= EXACT


@pytest.mark.parametrize(
    ("model", "lengths", "words"),
    [
        ("tiny", {"prompt": 75}, None),  # and a mark at each end: 77
        ("tiny", {"prompt": 76}, "prompt: 77 of 78 tokens"),
        ("tiny", {"prompt": 3, "negative_prompt": 98}, "negative_prompt: 77 of 100 tokens"),
        (
            "tiny",
            {"prompt": 98, "negative_prompt": 99},
            "prompt: 77 of 100 tokens; negative_prompt: 77 of 101 tokens",
        ),
        ("tiny", {"prompt": 0}, None),
        ("tiny-sdxl", {"prompt": 98}, "prompt: 77 of 100 tokens"),  # both encoders agree
        # T5 has one mark, at the end, and sees more than CLIP.
        ("tiny-flux", {"prompt": 255}, "prompt: 77 of 257 tokens"),
        ("tiny-flux", {"prompt": 256}, "prompt: 256 of 257 tokens, 77 of 258 tokens"),
        ("tiny-sd35", {"prompt": 300}, "prompt: 256 of 301 tokens, 77 of 302 tokens"),
    ],
)
def test_truncation(model: str, lengths: dict[str, int], words: str | None) -> None:
    from serve.diffusion.text_embeddings import truncation

    assert truncation(twin(model), {name: "x" * n for name, n in lengths.items()}) == words


@pytest.mark.parametrize("model", TWINS)
def test_what_was_cut_makes_no_difference(model: str) -> None:
    """The limits that are told are the encoders' own."""
    from serve.diffusion.text_embeddings import truncation

    # One token a word for CLIP, one a byte for T5.
    unit, limit = ("y ", CLIP - 2) if model in ("tiny", "tiny-sdxl") else ("y", T5 - 1)
    cut, longer, shorter = unit * limit, unit * limit + "z", unit * (limit - 1)
    assert truncation(twin(model), {"prompt": longer}) is not None
    embed, _ = embedder(model)
    made = [made[0] for made in embed.embed(texts(cut, longer, shorter)).values()]
    assert error(made[1], made[0]) <= EXACT
    assert error(made[2], made[0]) > 0.01
