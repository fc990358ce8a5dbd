"""Prompts to conditionings: embedded in batches, kept for the prompts that come again."""

# mypy: disallow-untyped-calls=False
# diffusers and transformers ship few types.

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from transformers import CLIPTokenizer

from serve.diffusion.out_of_memory import OutOfMemoryError, split_on_oom
from serve.models.components import T5_TOKENS
from serve.models.network import Conditioning, Network

# FLUX keeps 2 MB a text, SD1.5 a twentieth of that.
CACHED = 256
BATCH = 16
# What tokenizers add at most: CLIP begins and ends a text, T5 ends it.
SPECIAL_TOKENS = 2


class Text(msgspec.Struct, frozen=True):
    """A text in its role; an absent negative prompt is the empty text."""

    words: str
    is_negative: bool


class Texts:
    """Embeds texts, least recently used forgotten first. For one thread.

    Args:
        network: Whose text encoders.
        cached: Most conditionings to keep.
    """

    def __init__(self, network: Network, *, cached: int = CACHED) -> None:
        self._network = network
        self._cached = cached
        self._known: OrderedDict[Text, Conditioning] = OrderedDict()
        self.embedded = 0

    def embed(self, texts: Iterable[Text]) -> dict[Text, Conditioning | OutOfMemoryError]:
        """A conditioning for each different text; only the unknown ones are computed."""
        wanted = list(dict.fromkeys(texts))
        made: dict[Text, Conditioning | OutOfMemoryError] = {}
        for text in wanted:
            if text in self._known:
                self._known.move_to_end(text)
                made[text] = self._known[text]
        for is_negative in (False, True):
            fresh = [t for t in wanted if t.is_negative is is_negative and t not in made]
            for i in range(0, len(fresh), BATCH):
                made |= self._compute(fresh[i : i + BATCH], is_negative)
        return made

    def _compute(
        self, texts: Sequence[Text], is_negative: bool
    ) -> dict[Text, Conditioning | OutOfMemoryError]:
        def run(part: Sequence[Text]) -> list[Conditioning]:
            made = self._network.embed([text.words for text in part], negative=is_negative)
            # A row of a batch would keep all of the batch's memory.
            return [tuple(each.clone() for each in conditioning) for conditioning in made]

        made = dict(zip(texts, split_on_oom(texts, run), strict=True))
        self.embedded += len(texts)
        for text, conditioning in made.items():
            if isinstance(conditioning, tuple):
                self._known[text] = conditioning
        while len(self._known) > self._cached:
            self._known.popitem(last=False)
        return made


def truncation(pipeline: Any, texts: dict[str, str]) -> str | None:
    """What the text encoders will not see, in words: `prompt: 77 of 120 tokens`; None if all.

    Args:
        pipeline: Whose tokenizers.
        texts: Texts by what to call them.
    """
    cut = []
    for name, text in texts.items():
        counts = set()
        for part in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(pipeline, part, None)
            if tokenizer is None:
                continue
            is_clip = isinstance(tokenizer, CLIPTokenizer)
            limit = tokenizer.model_max_length if is_clip else T5_TOKENS
            if len(text.encode()) + SPECIAL_TOKENS <= limit:
                continue  # no tokenizer makes more tokens than bytes
            tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
            if tokens > limit:
                counts.add(f"{limit} of {tokens} tokens")
        if counts:
            cut.append(f"{name}: {', '.join(sorted(counts))}")
    return "; ".join(cut) or None
