import asyncio
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from serve.api.requests import ApiError
from serve.replica.fast_route import ShortcutAPI


async def make(request: Request) -> Response:
    body = await request.body()
    if body == b"bad":
        raise ApiError(400, "it is bad", headers={"X-Why": "bad"})
    if body == b"stream":
        return StreamingResponse(iter(["a", "b"]))
    return Response(b"short " + body)


@pytest.fixture
def api() -> ShortcutAPI:
    api = ShortcutAPI("/make", make)

    @api.post("/make")
    @api.get("/other")
    async def long() -> str:
        return "long"

    @api.exception_handler(ApiError)
    async def answer(request: Request, err: ApiError) -> Response:
        return Response(err.message, err.status, err.headers)

    return api


def ask(api: ShortcutAPI, method: str, path: str, body: bytes) -> httpx.Response:
    async def scene() -> httpx.Response:
        transport: Any = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as http:
            return await http.request(method, path, content=body)

    return asyncio.run(scene())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/make", b"x", 200, "short x"),
        ("POST", "/make", b"stream", 200, "ab"),
        ("POST", "/make", b"bad", 400, "it is bad"),
        ("GET", "/other", b"", 200, '"long"'),
        ("GET", "/make", b"", 405, '{"detail":"Method Not Allowed"}'),
        ("POST", "/make/", b"", 307, ""),
        ("POST", "/nowhere", b"", 404, '{"detail":"Not Found"}'),
    ],
)
def test_only_the_one_route_is_short(
    api: ShortcutAPI, method: str, path: str, body: bytes, status: int, told: str
) -> None:
    answer = ask(api, method, path, body)
    assert (answer.status_code, answer.text) == (status, told)


def test_an_errors_headers_are_kept(api: ShortcutAPI) -> None:
    assert ask(api, "POST", "/make", b"bad").headers["X-Why"] == "bad"
