"""What a library says of a faulty scenario, in words that help. Pure."""

import re
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from loadtest.traffic.arrivals import Word
from loadtest.units import nearest


def explain(message: str, data: object, whole: type[msgspec.Struct]) -> str:
    """The library's message, with the nearest valid key where a key is unknown.

    Args:
        message: of msgspec's ValidationError.
        data: what could not be read.
        whole: what it should have become.
    """
    word = re.match(r"Invalid enum value '(.*)' - at `\$\.load\.arrivals`$", message)
    if word:
        return f"$.load.arrivals: no process {word[1]!r}{nearest(word[1], get_args(Word))}"
    is_text = message.startswith("Expected `array`, got `str` - at `$.thresholds")
    if is_text and isinstance(data, dict):
        told = data.get("thresholds", {})
        metric = next((name for name, value in told.items() if isinstance(value, str)), "...")
        return (
            f"$.thresholds.{metric}: expected a list of conditions, "
            f'such as {metric} = ["{told.get(metric, "p(95) < 2s")}"]'
        )
    faulty = re.match(r"Invalid value '(.*)' - at `(\$\.curve)\.kind`$", message)
    if faulty:
        return f"{message.replace(' - at ', ' at ')}{nearest(faulty[1], _curve_kinds(whole))}"
    match = re.match(r"Object contains unknown field `(.+?)`(?: - at `(.+)`)?$", message)
    if not match:
        return message.replace(" - at ", " at ")
    path = match[2] or "$"
    kind = _kind_at(whole, data, re.findall(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]", path))
    known = [] if kind is None else [field.encode_name for field in msgspec.structs.fields(kind)]
    return f"unknown key {match[1]!r} at {path}{nearest(match[1], known)}"


def _curve_kinds(whole: type[msgspec.Struct]) -> list[str]:
    """What `curve.kind` may be."""
    kinds = get_args(get_type_hints(whole, include_extras=True)["curve"])
    return [str(each.__struct_config__.tag) for each in kinds]


def _kind_at(kind: Any, data: Any, path: list[tuple[str, str]]) -> type[msgspec.Struct] | None:
    """The Struct class that describes `data` below `path`, chosen by `kind` among a union's."""
    if get_origin(kind) is Annotated:
        return _kind_at(get_args(kind)[0], data, path)
    if get_origin(kind) in (Union, types.UnionType):
        structs = [
            k for k in get_args(kind) if isinstance(k, type) and issubclass(k, msgspec.Struct)
        ]
        tag = data.get("kind") if isinstance(data, dict) else None
        chosen = [k for k in structs if k.__struct_config__.tag == tag] or structs[:1]
        return _kind_at(chosen[0], data, path) if chosen else None
    if get_origin(kind) is dict:
        values = list(data.values()) if isinstance(data, dict) else []
        return _kind_at(get_args(kind)[1], values[0] if values else None, path[1:])
    if get_origin(kind) is tuple:
        if not path:
            return None
        item = path[0][1]
        faulty = data[int(item)] if item.isdigit() else data[0]
        return _kind_at(get_args(kind)[0], faulty, path[1:])
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    if not path:
        return kind
    name = path[0][0]
    return _kind_at(get_type_hints(kind, include_extras=True)[name], data.get(name), path[1:])
