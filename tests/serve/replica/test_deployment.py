"""A replica's start, without Ray around it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http import auto

from serve.settings import Settings

MANY = 10_000  # objects: Ray alone is made of more


@pytest.fixture
def replica_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The replica, with what it asks of Ray; what it changes elsewhere lasts for one test."""
    from ray import serve as rayserve
    from ray.serve._private import replica as ray_replica

    from serve.replica import deployment

    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="one"))
    monkeypatch.setattr(rayserve, "get_replica_context", lambda: context)
    name = "add_port_to_grpc_server"
    monkeypatch.setattr(ray_replica, name, getattr(ray_replica, name))
    protocol = type("Protocol", (auto.AutoHTTPProtocol,), {})
    monkeypatch.setattr(auto, "AutoHTTPProtocol", protocol)
    yield deployment.ImageReplica
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore")  # Ray's own, as it is imported
def test_nothing_in_a_warm_replica_is_left_for_the_collector_to_stop_it_for(
    replica_class: Any,
) -> None:
    lost, frozen = auto.AutoHTTPProtocol.connection_lost, gc.get_freeze_count()
    asyncio.run(_start(replica_class))
    assert gc.get_freeze_count() > frozen + MANY
    assert auto.AutoHTTPProtocol.connection_lost is not lost


async def _start(replica_class: Any) -> None:
    replica = replica_class.__new__(replica_class)
    await replica.__init__(Settings(model="stub"))
    replica._loop.cancel()


async def _pieces(*pieces: bytes, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause_s)
        yield piece


@pytest.mark.parametrize(
    ("pieces", "pause_s", "status"),
    [
        ([], 0.0, None),
        ([b"abc", b"de"], 0.0, None),
        ([b"abc", b"def"], 0.0, 413),
        ([b"x"] * 5, 3600.0, 408),  # F11: where no door has waited for it
    ],
)
def test_a_body_is_read_within_bounds(
    pieces: list[bytes], pause_s: float, status: int | None
) -> None:
    from serve.api.requests import ApiError
    from serve.replica.deployment import read_body

    reading = read_body(_pieces(*pieces, pause_s=pause_s), max_bytes=5, limit_s=0.05)
    if status is None:
        assert asyncio.run(reading) == b"".join(pieces)
        return
    with pytest.raises(ApiError) as caught:
        asyncio.run(reading)
    assert caught.value.status == status
