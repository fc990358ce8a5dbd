"""What a server says went wrong, in its own words, whatever form it gives them. Pure.

{"error": {"message": ...}}, {"error": "..."}     OpenAI's form, and a shorter one
{"detail": "..."}, {"detail": [{"loc": ..., "msg": ...}]}    FastAPI's
{"message": ...}, {"title": ...}, {"errors": [...]}          others', RFC 9457 among them
<title>502 Bad Gateway</title>                    a proxy's page
plain text
"""

import codecs
import html
import re
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import msgspec

from profiles.escaping import printable

MAX_CHARS = 200
MAX_READ_BYTES = 1 << 20  # of a body; a longer one is no error message
MAX_TOLD = 3  # faults of a list
# Names of fields as `_name` has them: OpenAI's, FastAPI's, AWS's, OAuth's, Apigee's, ...
SAYING = (
    "message", "detail", "details", "msg", "errormessage", "errormsg", "errordescription",
    "statusmessage", "statusmsg", "faultstring", "description", "error", "errors", "err", "title",
    "reason", "failurereason", "failure", "exception", "info", "text",
)  # fmt: skip
HOLDING = ("fault", "innererror", "output", "result", "response", "baseresp", "meta", "status")
NAMING = ("code", "type", "status", "statuscode")  # where there are no words
MAX_KEYS = 8
_TITLE = re.compile(
    rb"<(title|h1|h2|p|message)\b[^>]*>\s*([^<\s][^<]{0,300}?)\s*</\1>", re.IGNORECASE
)
_HTML = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body|h1)", re.IGNORECASE | re.DOTALL
)
_XML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<[a-z]*error", re.IGNORECASE)
_EVENT = re.compile(rb"^data:[ ]?(\{.*\})\s*$", re.MULTILINE)


def error_message(body: bytes | bytearray) -> str | None:
    """The words of an error's body as one printable line of at most MAX_CHARS; None for none."""
    if not body or len(body) > MAX_READ_BYTES:
        return None
    try:
        told = msgspec.json.decode(_bare(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _line(_of_text(bytes(body)))
    return _line(_of(told)) or _line(_whole(told))


def error_in(body: bytes | bytearray) -> str | None:
    """The words of an error that an answer of status 200 holds; None if it holds none."""
    if len(body) > MAX_READ_BYTES:
        return None
    try:
        told = msgspec.json.decode(_bare(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _line(_page(bytes(body)))
    if not isinstance(told, dict):
        return None
    items = told.get("data")
    for one in (told, *(items if isinstance(items, list) else ())):
        found = {k: v for k, v in one.items() if k != "data"} if isinstance(one, dict) else {}
        words = _line(_of(found))
        if words is not None:
            return words
    keys = [str(key) for key in told][:MAX_KEYS]
    return None if "data" in told or not keys else _line(f"it has {', '.join(keys)}")


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


def _bare(body: bytes | bytearray) -> bytes | bytearray:
    """The JSON without a byte order mark, or in an event of a stream."""
    event = _EVENT.search(body) if body[:6] in (b"data: ", b"event:", b"data:{") else None
    return event[1] if event else body.removeprefix(codecs.BOM_UTF8)


def _name(field: str) -> str:
    """A field's name however it is written: errorMessage, Error-Message, error_message."""
    return field.lower().replace("_", "").replace("-", "")


def _whole(told: Any) -> str | None:
    """JSON whose words nobody knows where to find, as it came."""
    text = msgspec.json.encode(told).decode() if isinstance(told, dict) else ""
    has_leaf = re.search(r'[:\[]("[^"]|[0-9tf-])', text)  # beside empty objects and nulls
    return text if has_leaf else None


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
    told = {_name(name): value for name, value in told.items()}
    for name in SAYING:
        words = _of(told.get(name), depth + 1)
        if words and words.strip():
            return f"{_place(told)}{words}"
    for name in HOLDING:
        words = _of(told[name], depth + 1) if isinstance(told.get(name), dict) else None
        if words and words.strip():
            return words
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
    start = body[: 4 * MAX_CHARS]
    text = start.decode("utf-8", "replace").strip()
    if len(start) < len(body):
        text = text.rstrip("\ufffd")  # a letter that was cut
    if "\ufffd" in text:  # no UTF-8: latin-1, if it reads like words
        text = start.decode("latin-1").strip()
    odd = sum(not letter.isprintable() and not letter.isspace() for letter in text)
    says = any(letter not in "[]{}<>()\"' \t\r\n" for letter in text)
    return text if odd == 0 and says else None


def _page(body: bytes) -> str | None:
    """What a web page calls itself, or an XML error says."""
    start = body[:4096]
    is_page = _HTML.match(start) is not None
    if not is_page and _XML.match(start) is None:
        return None
    title = _TITLE.search(start)
    name = html.unescape(title[2].decode("utf-8", "replace")) if title else ""
    if not is_page:
        return " ".join(name.split()) or None
    return f"a web page, {' '.join(name.split())!r}" if name.strip() else "a web page"


def _line(words: str | None) -> str | None:
    line = " ".join((words or "").split())
    return printable(line, MAX_CHARS) if line else None
