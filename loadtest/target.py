"""The server to load: what it says of itself, asked before any load is sent."""

import contextlib
import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import msgspec

from loadtest import told
from loadtest.errors import TargetError
from profiles.schema import Approximation, DeviceLimits

FALLBACK_SIZE = "1024x1024"  # what the OpenAI Images API makes unless told otherwise
MAX_BATCH_TOLD = 256


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an error: the key must not travel to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


# No proxy either: the load itself goes straight to the target.
_OPENER = build_opener(ProxyHandler({}), _NoRedirect)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said of one of its models; None where it did not say."""

    model: str | None = None
    default_size: str | None = None
    default_steps: int | None = None
    is_stub: bool = False
    replicas: Annotated[int, msgspec.Meta(ge=1)] | None = None
    device: str | None = None
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH_TOLD)] | None = None
    limits: DeviceLimits | None = None  # measured by the server, of one device
    flop_per_image: float | None = None  # at the default size and steps
    approximations: list[Approximation] = []
    image_s: Annotated[float, msgspec.Meta(ge=0)] | None = None  # an image takes alone
    is_viralload: bool = False  # it takes fields beyond OpenAI's


def normalize_url(url: str) -> str:
    """`http://host:port[/prefix]`, without a trailing slash or /v1.

    Raises:
        TargetError: no http(s) URL.
    """
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        bad = True
    if bad:
        raise TargetError(f"--host: {url!r} is no URL such as http://127.0.0.1:8000")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def ask_models(base_url: str, key: str | None, model: str | None, key_env: str) -> Offer:
    """What the server offers under `model`, or under its first model.

    Raises:
        TargetError: unreachable, refuses the key, does not offer the model, or does not answer as
            an OpenAI-compatible server does.
    """
    url = f"{base_url}/v1/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        body = _get(url, headers)
    except HTTPError as err:
        err.close()
        if err.code in (401, 403):
            hint = "is not accepted" if key else "is not set, and the server asks for a key"
            raise TargetError(f"{base_url} answered {err.code}: {key_env} {hint}") from err
        if 300 <= err.code < 400:
            raise TargetError(
                f"{base_url} redirects to {err.headers.get('Location')}: give --host that address"
            ) from err
        if err.code in (404, 405):
            return Offer(model=model)  # a server that makes images and lists nothing
        raise TargetError(f"{url} answered {err.code}: is the server healthy?") from err
    except (URLError, OSError, http.client.HTTPException) as err:
        raise TargetError(f"cannot reach {base_url}: {_reason(err)}. Is the server up?") from err
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise TargetError(f"{url} did not answer as an OpenAI server does")
    offered = {e["id"]: e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)}
    name = model or next(iter(offered), None)
    if model is not None and offered and model not in offered:
        raise TargetError(f"{base_url} has no model {model!r}; it has: {', '.join(offered)}")
    return _offer(name, offered.get(name or "", {}).get("viralload"))


def _offer(model: str | None, extra: Any) -> Offer:
    """What the server said of the model beyond OpenAI's fields, as far as it makes sense."""
    if not isinstance(extra, dict):
        return Offer(model=model)
    checked = ("limits", "flop_per_image", "approximations")
    plain = {key: value for key, value in extra.items() if key not in checked}
    try:
        offer = msgspec.convert({**plain, "model": model}, Offer)
    except msgspec.ValidationError:
        offer = Offer(model=model)
    return msgspec.structs.replace(
        offer,
        is_viralload=True,
        limits=told.device_limits(extra.get("limits")),
        flop_per_image=told.flop(extra.get("flop_per_image")),
        approximations=told.approximations(extra),
    )


def is_healthy(base_url: str, timeout_s: float = 2.0) -> bool | None:
    """Whether /health answers 200 (True) or 503 (False); None if there is no answer at all."""
    try:
        with _OPENER.open(f"{base_url}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except HTTPError as err:
        err.close()
        return False
    except (URLError, OSError, http.client.HTTPException):
        return None


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and that no one is given by chance.

    The kernel gives whoever asks for any port one of 32768 to 60999 (ip(7)), and the many processes
    of a starting Ray ask for dozens; 10002 to 19999 are its workers' and 30000 to 31000 its
    replicas'. So it is one of 20000 to 29999, or any at all where those are taken.
    """
    with socket.socket() as probe:
        for _ in range(100):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", 20_000 + secrets.randbelow(10_000)))
                break
        else:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port_free(port: int, option: str = "--port") -> None:
    """Make sure that nobody listens on a loopback port.

    Raises:
        TargetError: it is taken, or may not be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            raise TargetError(
                f"port {port} cannot be used: {err.strerror}. Choose another with {option}, or "
                "leave it out to take any free one"
            ) from err


def _get(url: str, headers: Mapping[str, str]) -> Any:
    with _OPENER.open(Request(url, headers=dict(headers)), timeout=10) as answer:  # noqa: S310
        data = answer.read(1 << 20)
    try:
        return json.loads(data)
    except ValueError:
        return None


def _reason(err: Exception) -> str:
    cause = err.reason if isinstance(err, URLError) else err
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason})"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
