"""What a server says went wrong, in its own words, whatever form it gives them. Pure.

{"error": {"message": ...}}, {"error": "..."}     OpenAI's form, and a shorter one
{"detail": "..."}, {"detail": [{"loc": ..., "msg": ...}]}    FastAPI's
{"message": ...}, {"title": ...}, {"errors": [...]}          others', RFC 9457 among them
<title>502 Bad Gateway</title>                    a proxy's page
plain text
"""

import html
import re
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import msgspec

from profiles.escaping import printable

MAX_CHARS = 200
MAX_READ_BYTES = 1 << 20  # of a body; a longer one is no error message
MAX_TOLD = 3  # faults of a list
SAYING = ("message", "detail", "msg", "error_message", "error", "errors", "title", "reason")
NAMING = ("code", "type", "status")  # where there are no words
_TITLE = re.compile(rb"<title[^>]*>(.{1,300}?)</title>", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(rb"\s*<(!doctype html|html|head|body|h1)", re.IGNORECASE)


def error_message(body: bytes | bytearray) -> str | None:
    """The words of an error's body as one printable line of at most MAX_CHARS; None for none."""
    if not body or len(body) > MAX_READ_BYTES:
        return None
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _line(_of_text(bytes(body)))
    return _line(_of(told))


def error_in(body: bytes | bytearray) -> str | None:
    """The words of an error that an answer of status 200 holds; None if it holds none."""
    if len(body) > MAX_READ_BYTES:
        return None
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _line(_page(bytes(body)))
    if not isinstance(told, dict):
        return None
    items = told.get("data")
    for one in (told, *(items if isinstance(items, list) else ())):
        found = {k: v for k, v in one.items() if k in SAYING} if isinstance(one, dict) else {}
        words = _line(_of(found))
        if words is not None:
            return words
    return None


def where_to(location: str | None, url: str) -> str:
    """A redirect in words: its target made absolute, without what may be a secret in it.

    Args:
        location: Of the answer; None: it told none.
        url: That was asked.
    """
    if not location:
        return "a redirect that says not where to"
    try:
        parts = urlsplit(urljoin(url, location))
        host = parts.netloc.rpartition("@")[2]
        target = urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "a redirect to no URL"
    return f"redirects to {printable(target, MAX_CHARS)}"


def _of(told: Any, depth: int = 0) -> str | None:
    """The words in a JSON value; of an object, of the first of its fields that says something."""
    if depth > 4:
        return None
    if isinstance(told, str):
        return told
    if isinstance(told, list):
        each = [said for one in told[:MAX_TOLD] if (said := _of(one, depth + 1))]
        more = f", and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
        return "; ".join(each) + more if each else None
    if not isinstance(told, dict):
        return None
    for name in SAYING:
        words = _of(told.get(name), depth + 1)
        if words and words.strip():
            return f"{_place(told)}{words}"
    plain = (told.get(name) for name in NAMING)
    named = [str(one) for one in plain if isinstance(one, str | int) and not isinstance(one, bool)]
    return " ".join(named) if named and depth else None


def _place(told: dict[str, Any]) -> str:
    """Which field FastAPI finds at fault."""
    loc = told.get("loc")
    if not isinstance(loc, list):
        return ""
    return ".".join(str(one) for one in loc[:6] if isinstance(one, str | int)) + ": "


def _of_text(body: bytes) -> str | None:
    page = _page(body)
    if page is not None:
        return page
    text = body[: 4 * MAX_CHARS].decode("utf-8", "replace").strip()
    odd = sum(not letter.isprintable() and not letter.isspace() for letter in text)
    readable = text and not text.startswith(("{", "[")) and odd + text.count("\ufffd") == 0
    return text if readable else None


def _page(body: bytes) -> str | None:
    """What a web page calls itself."""
    start = body[:4096]
    if _HTML.match(start) is None:
        return None
    title = _TITLE.search(start)
    name = html.unescape(title[1].decode("utf-8", "replace")) if title else ""
    return f"a web page, {' '.join(name.split())!r}" if name.strip() else "a web page"


def _line(words: str | None) -> str | None:
    line = " ".join((words or "").split())
    return printable(line, MAX_CHARS) if line else None
