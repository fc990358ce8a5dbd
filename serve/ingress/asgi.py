"""What stands before the replicas, in the proxy: health, and OpenAI's body for every error.

Ray's proxy answers by itself while no replica runs, or when one dies with requests in flight;
its own errors are plain text. This ASGI layer gives them the shape of all others.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import msgspec

from serve.api.requests import ApiError
from serve.ingress.foreign_headers import (
    NO_PATH,
    NO_UPGRADE,
    asks_for_another_protocol,
    without,
)

logger = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


# What probes of Ray's own proxy ask (KubeRay's, for one); its other paths tell of Ray's insides.
RAYS_HEALTH = "/-/healthz"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every replica is warm, and how many are."""

    is_ready: bool
    replicas_ready: int
    replicas: int

    def answer(self) -> tuple[int, bytes]:
        """Status and body for `GET /health`: 200, or 503 with OpenAI's error body."""
        if self.is_ready:
            told = {"status": "ok", "replicas_ready": self.replicas_ready}
            return 200, msgspec.json.encode({**told, "replicas": self.replicas})
        err = ApiError(
            503,
            f"{self.replicas_ready} of {self.replicas or 'no'} replicas are warm; try again soon",
            code="not_ready",
        )
        return err.status, err.body()


class Front:
    """Answers `GET /health` and, while nothing is warm, everything; rewrites plain errors.

    Args:
        app: The proxy.
        health: Asks how many replicas are warm.
    """

    def __init__(self, app: App, health: Callable[[], Awaitable[Health]]) -> None:
        self._app = app
        self._health = health
        self._was_ready = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] == RAYS_HEALTH:
            await self._app(scope, receive, send)
            return
        if asks_for_another_protocol(scope["headers"]):
            await _send(send, 400, _refusal(400, NO_UPGRADE), is_last=True)
            return
        if scope["path"].startswith("/-"):
            await _send(send, 404, _refusal(404, NO_PATH))
            return
        scope["headers"] = without(scope["headers"])
        is_health = scope["path"] == "/health" and scope["method"] in ("GET", "HEAD")
        if is_health or not self._was_ready:
            health = await self._health()
            self._was_ready = health.replicas_ready > 0
            if is_health or not self._was_ready:
                await _send(send, *health.answer())
                return
        rewriter = _Rewriter(send)
        try:
            await self._app(scope, receive, rewriter.send)
        except Exception:
            if rewriter.has_started:
                raise
            logger.exception("a request was lost with its replica")
        if not rewriter.has_started:  # Ray's proxy returns without a word when a replica dies
            await _send(send, *_translate(500))


class _Rewriter:
    """Holds an error's start back until its body has been replaced."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._plain_error: int | None = None
        self.has_started = False

    async def send(self, message: Message) -> None:
        """Pass a message on, or swallow it and answer in its place."""
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            if message["status"] >= 400 and not kind.startswith(b"application/json"):
                self._plain_error = message["status"]
                return
            self.has_started = True
        elif self._plain_error is not None:
            if not message.get("more_body"):
                self.has_started = True
                await _send(self._send, *_translate(self._plain_error))
            return
        await self._send(message)


def _translate(status: int) -> tuple[int, bytes]:
    """Status and body in place of a plain error of the proxy's own."""
    texts = {
        404: NO_PATH,
        408: "the request took too long",
        500: "the replica failed while it held the request; try again",
        503: "no replica can take the request; try again soon",
    }
    text = texts.get(status, "the request failed inside the server; try again")
    return status, _refusal(status, text)


def _refusal(status: int, text: str) -> bytes:
    return ApiError(status, text, code="proxy_error").body()


async def _send(send: Send, status: int, body: bytes, *, is_last: bool = False) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"retry-after", b"1")] if status == 503 else []),
        *([(b"connection", b"close")] if is_last else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
