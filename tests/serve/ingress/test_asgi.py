import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from serve.ingress.asgi import App, Front, Health

WARM = Health(is_ready=True, replicas_ready=2, replicas=2)
HALF = Health(is_ready=False, replicas_ready=1, replicas=2)
COLD = Health(is_ready=False, replicas_ready=0, replicas=2)


def proxy(status: int, body: bytes, kind: bytes = b"text/plain") -> App:
    """An application that answers the same to everything, in two pieces."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await send({"type": "http.response.body", "body": body[2:]})

    return app


def ask(
    app: App,
    health: Health,
    path: str,
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> tuple[int, bytes]:
    """Status and body of one request through the front."""
    sent: list[MutableMapping[str, Any]] = []

    async def read_health() -> Health:
        return health

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("nothing reads a body here")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": headers or []}
    asyncio.run(_call(Front(app, read_health), scope, receive, send))
    assert [m["type"] for m in sent].count("http.response.start") == 1
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent)


async def _call(app: App, scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


@pytest.mark.parametrize(
    ("health", "path", "status"),
    [
        (WARM, "/health", 200),
        (HALF, "/health", 503),
        (COLD, "/health", 503),
        (COLD, "/v1/images/generations", 503),
        (HALF, "/v1/images/generations", 200),  # the warm half answers
        (COLD, "/-/healthz", 200),  # Ray's own
    ],
)
def test_readiness(health: Health, path: str, status: int) -> None:
    assert ask(proxy(200, b"{}"), health, path)[0] == status


def test_health_counts_replicas() -> None:
    assert json.loads(ask(proxy(200, b""), WARM, "/health")[1]) == {
        "status": "ok",
        "replicas_ready": 2,
        "replicas": 2,
    }
    error = json.loads(ask(proxy(200, b""), HALF, "/health")[1])["error"]
    assert error["message"].startswith("1 of 2 replicas are warm")


@pytest.mark.parametrize(
    ("status", "type_"),
    [(404, "invalid_request_error"), (500, "server_error"), (503, "overloaded_error")],
)
def test_plain_errors_become_openais(status: int, type_: str) -> None:
    answered, body = ask(proxy(status, b"Internal Server Error"), WARM, "/v1/models")
    assert answered == status
    assert json.loads(body)["error"]["type"] == type_


@pytest.mark.parametrize("status", [200, 400, 429])
def test_the_applications_own_answers_pass(status: int) -> None:
    told = ask(proxy(status, b'{"error":1}', b"application/json"), WARM, "/v1/models")
    assert told == (status, b'{"error":1}')


def test_a_plain_success_passes() -> None:
    assert ask(proxy(200, b"fine"), WARM, "/x") == (200, b"fine")


@pytest.mark.parametrize("error", [ConnectionError("the replica is gone"), None])
def test_a_request_lost_with_its_replica_gets_500(error: Exception | None) -> None:
    async def dies(scope: Any, receive: Any, send: Any) -> None:
        if error:
            raise error

    status, body = ask(dies, WARM, "/v1/images/generations")
    assert status == 500  # it was accepted: 503 would say that it was refused
    assert json.loads(body)["error"]["type"] == "server_error"


def test_an_answer_that_breaks_off_stays_broken() -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ConnectionError("the replica is gone")

    with pytest.raises(ConnectionError):
        ask(breaks, WARM, "/v1/images/generations")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/-/routes", [], 404),
        ("/-", [], 404),
        ("/v1/models", [(b"upgrade", b"websocket")], 400),
        ("/v1/models", [(b"upgrade", b"h2c")], 200),
        ("/-/healthz", [], 200),  # what probes ask of Ray's own proxy
    ],
)
def test_rays_own_paths_and_other_protocols_are_refused(
    path: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    """F16."""
    answered, body = ask(proxy(200, b"{}"), WARM, path, headers=headers)
    assert answered == status
    assert status == 200 or set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_headers_of_rays_do_not_reach_ray() -> None:
    """F15."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await proxy(200, b"{}")(scope, receive, send)

    kept = [(b"accept", b"*/*"), (b"x-request-id", b"0d9f-A")]
    dropped = [
        (b"x-request-id", b"\xff"),
        (b"x-request-id", b"a" * 129),
        (b"serve-multiplexed_model_id", b"\xff"),
        (b"x-request-timeout-seconds", b"0.001"),
        (b"x-request-disconnect-disabled", b"?1"),
        (b"x_session_id", b"\xff"),
        (b"x-serve-router-x", b"1"),
    ]
    ask(app, WARM, "/v1/models", headers=kept + dropped)
    assert seen == kept
