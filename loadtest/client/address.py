"""Where a server is: the words of `--host`, taken apart. Pure.

What opens the server (user, password, parameters of the query that may be keys) is taken off here,
so that nothing later can show it: an `Address` shows and records what is left.

    http://host:8000              the API is at /v1, or at / where /v1 has no list of models
    http://host:8000/v3           a path is taken as it stands; if it has no version and there is
                                  no list of models, /v1 behind it is tried
    http://host/v1/images/generations   an endpoint pasted whole is asked as it is
    http://host/v1?api-version=1  a query goes behind every path
    http://user:password@host     basic authentication
"""

import ipaddress
import re
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from loadtest.errors import TargetError
from profiles.escaping import printable

IMAGES = "/images/generations"
MODELS = "/models"
_PASTED = re.compile(
    r"(/images/generations|/images/edits|/images/variations|/images|/models(?:/[^/]+)?"
    r"|/chat/completions|/completions|/responses|/embeddings|/docs|/openapi\.json)/?$"
)
_VERSIONED = re.compile(r"/v[0-9]+[a-z0-9]*$", re.IGNORECASE)
# A parameter of the query is taken for a secret unless it is one of these.
SHOWN_PARAMETERS = ("api-version", "api_version", "version", "model", "deployment")
_PATH_LETTERS = "/:@!$&'()*+,;=~-._"
_QUERY_LETTERS = _PATH_LETTERS + "?"
PAGES = ("/docs", "/openapi.json")  # beside the API, wherever that is
HIDDEN = "***"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A server and where its API is; `origin`, `path`, `pasted` and `query` may be shown."""

    origin: str  # scheme://host[:port]
    path: str = ""  # percent-encoded, without a slash at its end
    pasted: str | None = None  # the path of the endpoint, if it was given whole
    is_sure: bool = False  # the API is at `path` and nowhere else
    query: str = ""  # without what may be a secret
    secret_query: str = ""
    user: str | None = None  # "user:password", as it is to be sent
    has_scheme: bool = True

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def __rich_repr__(self) -> list[str]:  # type: ignore[override] # msgspec's shows every field
        return [self.shown]

    @property
    def hostname(self) -> str:
        """The name or address, without brackets and port."""
        return urlsplit(self.origin).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine is reached by it."""
        return is_loopback(self.hostname)

    @property
    def plain(self) -> str:
        """What `parse` gives the same address for, but for what opens it."""
        return self.origin + (self.pasted or self.path) + (f"?{self.query}" if self.query else "")

    @property
    def shown(self) -> str:
        """For people and records; where something was taken off a query, that shows."""
        names = [f"{name}={HIDDEN}" for name, _ in _parameters(self.secret_query)]
        query = "&".join(filter(None, [self.query, *names]))
        return self.origin + (self.pasted or self.path) + (f"?{query}" if query else "")

    def bases(self) -> list[str]:
        """The paths at which the API may be, the likeliest first."""
        if self.is_sure or _VERSIONED.search(self.path):
            return [self.path]
        return [self.path, f"{self.path}/v1"] if self.path else ["/v1", ""]

    def images(self, base: str) -> str:
        """Path and query that images are asked of, where the API is at `base`."""
        return self._with_query(self.pasted or base + IMAGES)

    def models(self, base: str) -> str:
        """Path and query of the list of models."""
        return self._with_query(base + MODELS)

    def _with_query(self, path: str) -> str:
        return path + (f"?{self.query}" if self.query else "")


def parse(text: str) -> Address:
    """The address that the words of `--host` name.

    Raises:
        TargetError: No http(s) URL. What may be a password in it is not repeated.
    """
    text = text.strip()
    if text[:1] in ("'", '"', "\u201c", "\u2018"):
        _refuse(text, "it stands in quotes, which are no part of it")
    if re.match(r"https?(:/?[^/0-9]|//)", text, re.IGNORECASE):
        _refuse(text, "behind http or https comes ://")
    if text.count(":") > 1 and re.fullmatch(r"[0-9a-fA-F:.]+", text):
        _refuse(text, "an IPv6 address stands in brackets, such as http://[::1]:8000")
    whole = text if "://" in text else f"http://{text}"
    if any(letter.isspace() or not (letter.isprintable()) for letter in whole):
        _refuse(text, "it holds a blank or a control character")
    try:
        parts = urlsplit(whole)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        _refuse(text)
    user, at, _ = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        _refuse(text)
    if not at and re.search(r"[^/]@", parts.path + parts.query + parts.fragment):
        _refuse(text, "in a password, write / as %2F, ? as %3F, # as %23 and @ as %40")
    if parts.fragment or whole.endswith("#"):
        _refuse(text, "it holds a #, behind which no server sees anything")
    path = _encoded(parts.path, _PATH_LETTERS).rstrip("/")
    pasted = None
    found = _PASTED.search(parts.path)
    if found is not None:
        if found[1] == IMAGES:
            pasted = _encoded(parts.path, _PATH_LETTERS)  # with its slash, if it has one
        path = path.removesuffix(found[1])
    told, secret = _split(parts.query)
    return Address(
        origin=f"{parts.scheme}://{_ascii_host(text, host)}" + (f":{port}" if port else ""),
        path=path,
        pasted=pasted,
        is_sure=found is not None and found[1] not in PAGES,
        query=told,
        secret_query=secret,
        user=unquote(user) if at else None,
        has_scheme="://" in text,
    )


def is_loopback(host: str | None) -> bool:
    """Whether only this machine is reached by that name or address."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(text: str, why: str = "") -> NoReturn:
    scheme, found, _ = text.partition("://")
    start = f"{scheme}://" if found else ""
    hidden = f"{start}{HIDDEN}@{text.rpartition('@')[2]}" if "@" in text else text
    hidden = hidden.partition("?")[0] + (f"?{HIDDEN}" if "?" in hidden else "")
    more = f": {why}" if why else ""
    raise TargetError(
        f"--host: {printable(hidden, 200)!r} is no URL such as http://127.0.0.1:8000{more}"
    ) from None  # what was asked for is in the cause


def _ascii_host(text: str, host: str) -> str:
    if ":" in host:
        return f"[{host}]"
    if not all(letter.isalnum() or letter in "-._" for letter in host):
        _refuse(text, "its name is none that a server can have")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        _refuse(text, "its name is none that a server can have")


def _encoded(text: str, kept: str) -> str:
    """Percent-encoded, in UTF-8, whatever is not yet."""
    parts = re.split(r"(%[0-9A-Fa-f]{2})", text)
    return "".join(p if at % 2 else quote(p, safe=kept) for at, p in enumerate(parts))


def _parameters(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _split(query: str) -> tuple[str, str]:
    """The query's parameters that may be shown, and those that may be secrets."""
    shown: list[str] = []
    secret: list[str] = []
    for part in filter(None, query.split("&")):
        name = unquote(part.partition("=")[0]).lower()
        (shown if name in SHOWN_PARAMETERS else secret).append(_encoded(part, _QUERY_LETTERS))
    return "&".join(shown), "&".join(secret)
