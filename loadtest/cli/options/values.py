"""What a word of the command line may be: each raises argparse's own error, in words."""

import argparse
from urllib.parse import urlsplit

from loadtest.distributed.handshake import MASTER_PORT
from loadtest.units import parse_duration


def positive(text: str) -> float:
    """A number above 0."""
    value = _number(text, float)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def duration(text: str) -> float:
    """Seconds of "90s", "10min", ..."""
    try:
        return float(parse_duration(text))
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from None


def share(text: str) -> float:
    """A number from 0 to below 1."""
    value = _number(text, float)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, got {text}")
    return value


def count(text: str) -> int:
    """A whole number of at least 1."""
    value = int(_number(text, int))
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def port(text: str) -> int:
    """A TCP port."""
    value = int(_number(text, int))
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text}")
    return value


def address(text: str) -> tuple[str, int]:
    """Host and port of "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT"."""
    try:
        parts = urlsplit(f"//{text}")
        host, port, netloc = parts.hostname, parts.port, parts.netloc
    except ValueError:  # brackets around what is no IPv6 address, or no port
        host = port = netloc = None
    if not host or port == 0 or netloc != text or "@" in text:
        raise argparse.ArgumentTypeError(f"expected HOST or HOST:PORT, got {text!r}")
    return host, MASTER_PORT if port is None else port


def whole(text: str) -> int:
    """A whole number of at least 0."""
    value = int(_number(text, int))
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text}")
    return value


def _number(text: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
