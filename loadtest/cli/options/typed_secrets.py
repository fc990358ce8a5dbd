"""What of a command line must not be shown, wherever its words were put. Pure.

A key may be typed in the wrong place: an address with a password as the scenario, the key itself
after `--key-env`, an option that another tool has. Whoever then says what is wrong repeats it.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from loadtest.client.credentials import DEFAULT_KEY_ENV
from loadtest.distributed.handshake import TOKEN_ENV

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # as the environment's names are written
_OPENING = re.compile(r"key|token|secret|password|passwd|auth|bearer|credential", re.IGNORECASE)
_KEY = re.compile(r"(sk|pk|rk|hf|gsk|xai|nvapi|ghp|glpat)[-_][\w-]{4,}")  # as sellers begin theirs


def secrets_of(words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Values that must not be shown: keys of the environment, and what was typed as one."""
    names = [TOKEN_ENV, DEFAULT_KEY_ENV]
    names += [value for option, value in _pairs(words) if option == "--key-env"]
    found = [environ[name] for name in names if environ.get(name)]
    for option, value in _pairs(words):
        if option == "--header":
            found.append(value.partition(":")[2].strip())
        elif _OPENING.search(option) and not VARIABLE.fullmatch(value):
            found.append(value)
    for word in words:
        found += _user(word)
        found += [one[0] for one in _KEY.finditer(word)]
    return [one for one in dict.fromkeys(found) if one]


def hidden_in_ps(words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """What `ps` need not show of a command line: its secrets, and the query of its address."""
    queries = (value.partition("?")[2] for option, value in _pairs(words) if option == "--host")
    return [*secrets_of(words, environ), *filter(None, queries)]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with the word behind them: `--a b` and `--a=b`."""
    for one, other in itertools.pairwise(words):
        if one.startswith("-") and "=" not in one:
            yield one, other
    for word in words:
        name, found, value = word.partition("=")
        if found and name.startswith("-"):
            yield name, value


def _user(word: str) -> list[str]:
    """User and password of an address."""
    user, at, _ = word.rpartition("@")
    user = user.rpartition("//")[2]
    if not at or ":" not in user:
        return []
    password = user.partition(":")[2]
    return [user, unquote(user), password, unquote(password)]
