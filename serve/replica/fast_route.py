"""FastAPI with a short way to the one route that carries the load."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.api.requests import ApiError

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class ShortcutAPI(FastAPI):
    """A FastAPI application whose busiest route is called without FastAPI's layers.

    Resolving dependencies, exit stacks and five middlewares take a third of the replica's CPU for
    a request, and that route uses none of them: it takes a request and gives a response, or
    raises ApiError, which the application's own handler answers.

    Args:
        path: The route's path; only POST takes the short way.
        endpoint: What answers it.
        options: FastAPI's.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(**options)
        self._path = path
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive, send)
        response: Response
        try:
            response = await self._endpoint(request)
        except ApiError as err:
            handler: Any = self.exception_handlers[ApiError]
            response = await handler(request, err)
        await response(scope, receive, send)
