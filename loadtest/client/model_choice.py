"""Which of the models that a server lists is loaded. Pure.

Gateways list models of every kind. What a model makes is told by its entry where the server tells
it at all (`type`, `mode`, `task`, `modality`, `output_modalities`), else guessed from its name;
what was guessed is said. Several that make images are never chosen among.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from loadtest.errors import TargetError
from profiles.escaping import printable

SHOWN = 8  # names in one line
MAX_COMPARED = 2_000  # names looked through for the one that was meant
MAX_READ = 200  # characters of what an entry tells in one field
TELLING = ("type", "mode", "task", "task_type", "modality", "output_modalities", "capabilities")
_IMAGE_KIND = re.compile(r"image|t2i|diffusion", re.IGNORECASE)
_INPUT_KIND = re.compile(r"image.*(->|to)[- _]?text|vision", re.IGNORECASE)
_IMAGE_NAME = re.compile(
    r"image|dall-?e|diffusion|(^|[/:_.-])(sd|sdxl|sd-?(1|2|3|xl|turbo))|flux|imagen|kandinsky"
    r"|pixart|playground-v|hidream|kolors|recraft|ideogram|firefly|sana|auraflow|lumina"
    r"|photon|seedream|midjourney|cogview",
    re.IGNORECASE,
)
_OTHER_NAME = re.compile(
    r"chat|embed|whisper|(^|[/:_.-])(tts|asr|llm|gpt-[0-9o]|o[1-9])|rerank|moderation|llama|claude"
    r"|mistral|mixtral|gemma|deepseek|instruct|codestral|speech|audio|transcri|video|sora|bge-",
    re.IGNORECASE,
)


def choose(
    offered: Mapping[str, Mapping[str, Any]], asked: str | None, where: str
) -> tuple[str | None, str | None]:
    """The model to load, and what is to be said of the choice.

    Args:
        offered: What the server said of each model, by name.
        asked: `--model`, if it was given.
        where: The server's address, for messages.

    Raises:
        TargetError: The server has no such model, or several that make images.
    """
    if asked is not None:
        if offered and asked not in offered:
            raise TargetError(
                f"{where} has no model {asked!r}{_meant(asked, offered)}; it has: {_named(offered)}"
            )
        said = None
        if not offered:
            said = f"the server lists no models; {asked!r} is asked for unseen"
        return asked, said
    if not offered:
        return None, (
            "the server lists no models, so requests name none; if it wants one, give --model"
        )
    if len(offered) == 1:
        return next(iter(offered)), None
    kinds = {name: _makes_images(name, entry) for name, entry in offered.items()}
    images = [name for name, kind in kinds.items() if kind]
    unknown = [name for name, kind in kinds.items() if kind is None]
    if len(images) > 1:
        raise TargetError(
            f"{where} lists several models that make images: name one with --model: "
            f"{_named(images)}"
        )
    chosen = next(iter([*images, *unknown, *offered]))
    why = "the only one that looks like images'"
    if not images:
        why = "the first" if len(unknown) != 1 else "the only one that may be images'"
    return chosen, f"loads {chosen!r}, {why} of {len(offered):,} listed; --model chooses another"


def always_base64(model: str | None) -> bool:
    """Whether a model answers in base64 always, and refuses to be asked for it.

    OpenAI's GPT image models do, also under a gateway's name, such as "openai/gpt-image-1".
    """
    return re.search(r"(^|[/:@._-])(chat)?gpt-image", model or "", re.IGNORECASE) is not None


def _makes_images(name: str, entry: Mapping[str, Any]) -> bool | None:
    """None where nothing tells."""
    told = " ".join(str(entry[key])[:MAX_READ] for key in TELLING if entry.get(key))
    if _IMAGE_KIND.search(told) and not _INPUT_KIND.search(told):
        return True
    if told and re.search(r"chat|embed|text|audio|speech|llm|rerank|video", told, re.IGNORECASE):
        return False
    if _OTHER_NAME.search(name) and not re.search(r"image", name, re.IGNORECASE):
        return False
    return True if _IMAGE_NAME.search(name) else None


def _meant(asked: str, offered: Mapping[str, object]) -> str:
    names = list(offered)[:MAX_COMPARED]
    near = difflib.get_close_matches(asked, names, 1) or [
        name for name in names if name.rpartition("/")[2] == asked
    ]
    return f"; did you mean {near[0]!r}?" if near else ""


def _named(names: Mapping[str, object] | list[str]) -> str:
    every = list(names)
    told = ", ".join(printable(name, 80) for name in every[:SHOWN])
    return told + (f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else "")
