"""What opens somebody's server: the key, a user and password, headers, parameters of its address.

None of it is written into a job, a manifest, a log or a command line: generators have it from
their environment. What a server repeats of it is masked before it is kept or shown.
"""

import base64
import binascii
import functools
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec

from loadtest.client.address import HIDDEN, Address
from loadtest.errors import TargetError

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
ENV = "VIRALLOAD_CREDENTIALS"  # of a generator: a Credentials as JSON
# Headers by which gateways know their caller, in place of Authorization
OPENING = ("authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key")
OURS = (
    "host", "content-length", "content-type", "transfer-encoding", "connection", "accept",
    "accept-encoding", "expect", "upgrade", "te", "trailer", "keep-alive",
)  # fmt: skip
MIN_MASKED = 6  # characters; shorter ones would be found in words that have nothing to do with it
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, 5.6.2
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A variable alone, or behind a scheme of Authorization: "Bearer $KEY"
_VARIABLE = re.compile(r"([A-Za-z][A-Za-z-]* +)?\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_QUOTES = "\"'`"


class Credentials(msgspec.Struct, frozen=True, kw_only=True, dict=True):  # dict: what is cached
    """Headers and parameters that go with every request, and must never be shown."""

    headers: dict[str, str] = {}
    query: str = ""
    told: str = ""  # what they are, for people; empty: none
    refused: str = ""  # what is said where the server does not accept them

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self.headers)})"

    def __rich_repr__(self) -> list[str]:  # type: ignore[override] # msgspec's shows every field
        return [repr(self)]

    def __bool__(self) -> bool:
        return bool(self.headers or self.query)

    @property
    def environment(self) -> dict[str, str]:
        """For a process that sends requests."""
        return {ENV: msgspec.json.encode(self).decode()} if self else {}

    def url(self, url: str) -> str:
        """The URL with the parameters that open it."""
        return url + (("&" if "?" in url else "?") + self.query if self.query else "")

    @property
    def secrets(self) -> list[str]:
        """All that must not be shown, long enough to be told from other words."""
        return [secret for secret in self._secrets if len(secret) >= MIN_MASKED]

    def mask(self, text: str, least: int = MIN_MASKED) -> str:
        """The text without any secret of so many characters or more."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN) if len(secret) >= least else text
        return text

    def mask_bytes(self, body: bytes | bytearray) -> bytes | bytearray:
        """The same of a body, before words are taken out of it and cut."""
        for secret in self._secrets:
            word = secret.encode()
            if len(secret) >= MIN_MASKED and word in body:
                body = body.replace(word, HIDDEN.encode())
        return body

    @functools.cached_property
    def _secrets(self) -> list[str]:
        """The longest first, so that none is left in part."""
        found = {value for _, value in parse_qsl(self.query)}
        found |= {part.partition("=")[2] for part in self.query.split("&")}
        for value in self.headers.values():
            scheme, _, rest = value.partition(" ")
            found |= {value, rest}
            if scheme.lower() == "basic":
                found |= _basic(rest)
        return sorted(found - {""}, key=len, reverse=True)


NONE = Credentials()


def of_this_process() -> Credentials:
    """What the process that started this one has given it."""
    told = os.environ.get(ENV)
    return msgspec.json.decode(told, type=Credentials) if told else NONE


def gather(
    address: Address | None,
    key_env: str | None,
    headers: Sequence[str],
    environ: Mapping[str, str],
) -> tuple[Credentials, list[str]]:
    """What opens the server, checked, and what is to be said of it.

    Args:
        address: The server's; None: one that a run starts.
        key_env: The environment variable that was named to hold the key; None: the usual one.
        headers: As they were given: "Name: value".
        environ: This process's environment.

    Raises:
        TargetError: One of them cannot be sent. The text does not hold it.
    """
    said: list[str] = []
    own = _own_headers(headers, environ)
    names = {name.lower() for name in own}
    name = key_env or DEFAULT_KEY_ENV
    if key_env is not None and not _ENVIRONMENT_NAME.fullmatch(key_env):
        raise TargetError(
            "--key-env: expected the name of the environment variable that holds the key, not the "
            f"key itself: export {DEFAULT_KEY_ENV}=..., and leave --key-env out"
        )
    if key_env is not None and not environ.get(key_env):
        raise TargetError(f"--key-env: the environment variable {key_env} is not set")
    user = address.user if address is not None else None
    query = address.secret_query if address is not None else ""
    told = [f"header{'s' if len(own) > 1 else ''} {', '.join(own)} of --header"] if own else []
    sent = dict(own)
    has_key = bool(environ.get(name))
    if user is not None:
        if "authorization" in names:
            said.append("--header Authorization is sent, not the user and password of --host")
        else:
            told.append("the user and password of --host")
            sent["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
            if has_key:
                said.append(f"the user and password of --host are sent, not the key in {name}")
    elif has_key and ("authorization" in names or (key_env is None and names & {*OPENING})):
        which = next(one for one in own if one.lower() in OPENING)
        said.append(f"--header {which} is sent, not the key in {name}")
    elif has_key:
        key, notes = checked_key(name, environ[name])
        said += notes
        told.append(f"the key in {name}")
        sent["Authorization"] = f"Bearer {key}"
    if query:
        told.append("the query of --host")
    words = " and ".join(told)
    refused = f"{name} is not set, and the server asks for a key"
    if told == [f"the key in {name}"]:
        refused = f"{name} is not accepted"
    elif told:
        refused = f"{words}: not accepted"
    return Credentials(headers=sent, query=query, told=words, refused=refused), said


def checked_key(name: str, text: str) -> tuple[str, list[str]]:
    """The key as it can be sent, and what is to be said of it.

    Args:
        name: Of the environment variable that holds it.
        text: What it holds.

    Raises:
        TargetError: It cannot be a key. The text does not hold it.
    """
    key, said = text.strip(), []
    if key != text:
        said.append(f"the key in {name} begins or ends with blanks or a line break: left out")
    if not key:
        raise TargetError(f"the key in {name} is blank; unset it, or give the key")
    fault = fault_of(key)
    if fault is None and key[0] in _QUOTES and key[-1] == key[0] and len(key) > 1:
        fault = "stands in quotes, which are no part of it"
    if fault is None and key.lower().startswith("bearer "):
        fault = 'begins with "Bearer", which is put before it anyway'
    if fault is None and " " in key:
        fault = "holds a blank"
    if fault is not None:
        raise TargetError(f"the key in {name} {fault}; set it again without")
    return key, said


def fault_of(value: str) -> str | None:
    """Why no header can hold that value, without repeating it; None if one can."""
    if "\r" in value or "\n" in value:
        return "holds a line break"
    for at, letter in enumerate(value):
        if letter == "\t" or " " <= letter <= "~":
            continue
        kind = unicodedata.category(letter)[0]
        what = "a letter beyond ASCII"
        if kind in "PSZ":  # quotes, dashes, blanks: not what keys are made of
            what = f"a {unicodedata.name(letter, 'character beyond ASCII').lower()}"
        elif kind == "C":
            what = "a control character"
        return f"holds {what} at position {at + 1}"
    return None


def in_the_clear(address: Address, credentials: Credentials) -> str | None:
    """A warning where secrets would cross a network unencrypted; None where they do not."""
    if not credentials or address.is_loopback or address.origin.startswith("https:"):
        return None
    taken = "" if address.has_scheme else " (taken for http, as no scheme was given)"
    return (
        f"{credentials.told}: sent unencrypted to {address.origin}{taken}; if it has TLS, give "
        f"--host https://{address.origin.partition('://')[2]}"
    )


def shown_command(
    words: Sequence[str], host: str | None, address: Address | None, headers: Sequence[str]
) -> list[str]:
    """The command line as it may be recorded: addresses and headers without their secrets."""
    shown = {}
    if host is not None and address is not None:
        opened = HIDDEN + "@" if address.user is not None else ""
        shown[host] = address.shown.replace("://", f"://{opened}", 1)
    shown |= {one: f"{one.partition(':')[0]}: {HIDDEN}" for one in headers}
    told = []
    for word in words:
        for secret, instead in shown.items():
            word = word.replace(secret, instead) if secret else word
        told.append(word)
    return told


def _own_headers(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, colon, value = word.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _NAME.fullmatch(name):
            raise TargetError("--header: expected 'NAME: VALUE', such as 'api-key: $MY_KEY'")
        if name.lower() in OURS:
            raise TargetError(f"--header: {name} is set by viralload itself")
        if name.lower() in {one.lower() for one in found}:
            raise TargetError(f"--header: {name} is given twice")
        variable = _VARIABLE.fullmatch(value)
        if variable is not None:
            if not environ.get(variable[2]):
                raise TargetError(
                    f"--header: {name}: the environment variable {variable[2]} is not set"
                )
            value = (variable[1] or "") + environ[variable[2]].strip()
        if not value:
            raise TargetError(f"--header: {name} has no value")
        fault = fault_of(value)
        if fault is not None:
            raise TargetError(f"--header: the value of {name} {fault}")
        found[name] = value
    return found


def _basic(encoded: str) -> set[str]:
    try:
        user = base64.b64decode(encoded).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return set()
    return {user, user.partition(":")[2]}
