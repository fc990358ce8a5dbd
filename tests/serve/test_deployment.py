"""A replica's start, without Ray around it."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serve.settings import Settings

MANY = 10_000  # objects: Ray alone is made of more


@pytest.fixture
def replica_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The replica, with what it asks of Ray; what it changes elsewhere lasts for one test."""
    from ray import serve as rayserve
    from ray.serve._private import replica as ray_replica

    from serve import deployment

    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="one"))
    monkeypatch.setattr(rayserve, "get_replica_context", lambda: context)
    for owner, name in (
        (ray_replica, "add_port_to_grpc_server"),
        (AutoHTTPProtocol, "connection_lost"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    yield deployment.ImageReplica
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore")  # Ray's own, as it is imported
def test_nothing_in_a_warm_replica_is_left_for_the_collector_to_stop_it_for(
    replica_class: Any,
) -> None:
    lost, frozen = AutoHTTPProtocol.connection_lost, gc.get_freeze_count()
    asyncio.run(_start(replica_class))
    assert gc.get_freeze_count() > frozen + MANY
    assert AutoHTTPProtocol.connection_lost is not lost


async def _start(replica_class: Any) -> None:
    replica = replica_class.__new__(replica_class)
    await replica.__init__(Settings(model="stub"))
    replica._loop.cancel()
