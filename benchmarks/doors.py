"""Two ways to a policy's engine: in this process, and through the server over HTTP."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
import msgspec

from benchmarks.cell import Outcome
from serve.diffusion.startup import default_recipe
from serve.engine.request import Encoding, Order, Row
from serve.engine.ticket import Engine, EngineError, complete
from serve.ingress.haproxy import free_port
from serve.replica.policies import engine_for
from serve.settings import Settings

START_UP_S = 900.0


class Door(Protocol):
    """Where requests for one image go."""

    async def ask(self, seed: int, due_s: float, begin_s: float) -> Outcome:
        """Ask for an image and wait for it; instants are of `time.perf_counter`."""
        ...


class InProcess:
    """An engine on this event loop: no HTTP, files encoded all the same."""

    def __init__(self, engine: Engine[Any], model: Any, settings: Settings, slo_s: float) -> None:
        self._engine = engine
        self._model = model
        self._recipe = default_recipe(settings)
        self._slo_s = slo_s

    async def ask(self, seed: int, due_s: float, begin_s: float) -> Outcome:
        """Ask the engine."""
        order = Order(
            recipe=self._recipe,
            rows=(Row(prompt=f"a red fox, {seed}", negative_prompt="", seed=seed),),
            encoding=Encoding(),
            deadline_s=self._slo_s,
        )
        try:
            ticket = await self._engine.enter(order)
            done = await complete(ticket, self._model, time.perf_counter)
        except EngineError:
            return Outcome(due_s=due_s)
        return Outcome(
            due_s=due_s,
            done_s=time.perf_counter() - begin_s,
            batch=done.timing.batch_mean,
            flop=self._model.image_flop(self._recipe),
        )


@contextlib.asynccontextmanager
async def in_process(model: Any, settings: Settings, slo_s: float) -> AsyncIterator[InProcess]:
    """A fresh engine of the settings' policy on a warm model."""
    engine = engine_for(settings, model, clock=time.perf_counter)
    loop = asyncio.get_running_loop().create_task(engine.run())
    try:
        yield InProcess(engine, model, settings, slo_s)
    finally:
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop


class OverHttp:
    """The server as its users reach it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, slo_s: float) -> None:
        self._session = session
        self._url = url
        self._slo_s = slo_s

    async def ask(self, seed: int, due_s: float, begin_s: float) -> Outcome:
        """Post a request."""
        body = {"prompt": f"a red fox, {seed}", "seed": seed, "deadline_s": self._slo_s}
        async with self._session.post(f"{self._url}/v1/images/generations", json=body) as answer:
            await answer.read()
            done_s = time.perf_counter() - begin_s
            if answer.status in (429, 503):
                return Outcome(due_s=due_s)
            answer.raise_for_status()
            told = answer.headers
            return Outcome(
                due_s=due_s,
                done_s=done_s,
                batch=float(told["X-Batch-Mean"]),
                flop=float(told["X-Flop"]) if "X-Flop" in told else None,
            )


@contextlib.asynccontextmanager
async def over_http(settings: Settings, slo_s: float) -> AsyncIterator[OverHttp]:
    """A server of these settings, for the time of the block.

    Raises:
        RuntimeError: It does not start.
    """
    settings = msgspec.structs.replace(settings, port=free_port())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serve.app",
        "--settings",
        msgspec.json.encode(settings).decode(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_UP_S)
        if not line:
            raise RuntimeError("the server did not start; its reason stands above")
        url = json.loads(line)["url"]
        connector = aiohttp.TCPConnector(limit=0)  # nothing waits in the client
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield OverHttp(session, url, slo_s)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
