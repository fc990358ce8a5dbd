"""Ray Serve's side: the replica that holds a model, its HTTP routes, and the way in front.

A replica is its own ingress: a request crosses Ray once, from the proxy to the model's process.
"""

# mypy: disallow-untyped-calls=False
# Parts of Ray are untyped.

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from ray import serve as rayserve
from ray.serve._private.common import ReplicaState
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from serve.api.failures import BODY_S, answer_to, outcome_of, too_long, too_slow
from serve.api.requests import ApiError, parse
from serve.api.responses import (
    answer,
    completed_event,
    error_event,
    model_entry,
    model_list,
    partial_event,
    server_timing,
)
from serve.engine.request import Done, Model, Order
from serve.engine.ticket import Engine, Ticket, complete
from serve.ingress.asgi import Front, Health
from serve.models.weights import hub_environment
from serve.replica.connections import keep_connections_in_bounds
from serve.replica.fast_route import ShortcutAPI
from serve.replica.metrics import Metrics
from serve.replica.policies import engine_for
from serve.settings import Settings

# The replica's own bounded queue decides who waits; Ray's limits must never bind before it.
MAX_ONGOING_REQUESTS = 100_000
GENERATIONS = "/v1/images/generations"
START_UP_FAILED = "start-up failed: "
FAILURES_LIMIT = 3


async def _generate(request: Request) -> Response:
    replica: Any = rayserve.get_replica_context().servable_object
    response: Response = await replica.generate(request)
    return response


routes = ShortcutAPI(GENERATIONS, _generate, docs_url=None, redoc_url=None, openapi_url=None)


class StartUpError(RuntimeError):
    """A replica cannot start; its text is one line behind `START_UP_FAILED`."""

    def __init__(self, err: Exception) -> None:
        super().__init__(START_UP_FAILED + " ".join(f"{err}".split()))


class ImageReplica:
    """One model behind OpenAI's Images API."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        _keep_grpc_on_loopback()
        keep_connections_in_bounds()
        self._settings = settings
        self._replica_id = rayserve.get_replica_context().replica_id.unique_id
        self._meters = Metrics()
        try:
            loaded = await _load(settings)
        except Exception as err:  # noqa: BLE001 - told in one line, whatever it is
            raise StartUpError(err) from None
        self._model = loaded.model
        self._facts = loaded.facts
        self._gpu_uuid = loaded.gpu_uuid
        self._engine: Engine[Any] = engine_for(
            settings, loaded.model, clock=time.perf_counter, on_batch=self._meters.batch
        )
        self._loop = asyncio.get_running_loop().create_task(self._engine.run())
        # What is here now stays: looking at all of it again, the collector would hold every request
        # up for 0.2 s, once in some 7,500.
        gc.collect()
        gc.freeze()

    @routes.post(GENERATIONS)
    async def generate(self, request: Request) -> Response:
        """Make images: 200 with base64 files or a stream of events, 400, 429, 500, or 503."""
        try:
            order = parse(
                await read_body(request.stream(), self._settings.body_limit, BODY_S),
                self._settings,
            )
            ticket = await self._engine.enter(order)
            if order.stream:
                return StreamingResponse(
                    self._events(order, ticket),
                    media_type="text/event-stream",
                    headers={"Cache-Control": "no-store", "X-Replica": self._replica_id},
                )
            done = await complete(ticket, self._model, time.perf_counter)
        except asyncio.CancelledError:
            self._meters.outcome("cancelled")
            raise
        except Exception as err:
            self._meters.outcome(outcome_of(err))
            raise answer_to(err) from err
        self._meters.done(done)
        return Response(
            answer(order, done), media_type="application/json", headers=self._told(order, done)
        )

    async def _events(self, order: Order, ticket: Ticket[Any]) -> AsyncIterator[bytes]:
        """A request's previews and its image, as server-sent events."""
        try:
            index = 0
            async for image in ticket.previews():
                file = await self._model.encode(image, order.recipe, order.encoding)
                yield partial_event(order, index, file)
                index += 1
            done = await complete(ticket, self._model, time.perf_counter)
            self._meters.done(done)
            yield completed_event(order, done)
        except (asyncio.CancelledError, GeneratorExit):
            self._meters.outcome("cancelled")
            raise
        except Exception as err:  # noqa: BLE001 - the status is sent: the stream tells it
            self._meters.outcome(outcome_of(err))
            yield error_event(answer_to(err))
        finally:
            ticket.give_up()

    @routes.api_route("/v1/models", methods=["GET", "HEAD"])
    @routes.get("/v1/models/")
    async def models(self) -> Response:
        """The one model served."""
        return Response(model_list(self._settings, self._facts), media_type="application/json")

    @routes.get("/v1/models/{model:path}")
    async def model(self, model: str) -> Response:
        """The model of that id, or 404."""
        if model != self._settings.model:
            raise ApiError(
                404,
                f"model: '{model}' is not served here; there is '{self._settings.model}'",
                param="model",
                code="model_not_found",
            )
        return Response(model_entry(self._settings, self._facts), media_type="application/json")

    @routes.get("/health")
    async def health(self) -> Response:
        """200 once every replica is warm, else 503."""
        status, body = (await read_health()).answer()
        return Response(body, status_code=status, media_type="application/json")

    def check_health(self) -> None:
        """Tell Ray to replace this replica once its loop has ended, or its device only fails.

        Raises:
            RuntimeError: The denoising loop is over, or several steps in a row failed.
        """
        if self._loop.done():
            raise RuntimeError(f"the denoising loop ended: {self._loop}")
        if self._engine.failures_in_a_row >= FAILURES_LIMIT:
            raise RuntimeError(f"{self._engine.failures_in_a_row} steps in a row failed")

    def _told(self, order: Order, done: Done) -> dict[str, str]:
        flop = self._model.image_flop(order.recipe)
        told = {
            "Server-Timing": server_timing(done),
            "X-Batch-Mean": f"{done.timing.batch_mean:g}",
            "X-Replica": self._replica_id,
            "X-Gpu-Uuid": self._gpu_uuid,
            "X-Flop": None if flop is None else f"{flop * len(order.rows):.0f}",
            "X-Prompt-Truncated": done.truncated,
        }
        return {name: value for name, value in told.items() if value is not None}


@routes.exception_handler(ApiError)
async def _answer_error(request: Request, err: ApiError) -> Response:
    return Response(err.body(), err.status, err.headers, "application/json")


@routes.exception_handler(HTTPException)
async def _answer_http_error(request: Request, err: HTTPException) -> Response:
    asked = f"{request.method} {request.url.path}"
    texts = {
        404: f"no such path: {asked}; see POST /v1/images/generations and GET /v1/models",
        405: f"{asked} is not offered; this path takes {(err.headers or {}).get('Allow')}",
    }
    text = texts.get(err.status_code, str(err.detail))
    return await _answer_error(
        request, ApiError(err.status_code, text, code="unknown_url", headers=err.headers)
    )


# Not as a decorator: Ray would then ship the class by value instead of importing it.
_Ingress = rayserve.ingress(routes)(ImageReplica)


def deploy(settings: Settings, *, gpus: int) -> rayserve.Application:
    """The Serve application for settings whose replicas are counted; one GPU each if any."""
    deployment: Any = rayserve.deployment(
        _Ingress,
        name=f"image-{settings.model}",
        num_replicas=settings.replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_constructor_retry_count=1,
        graceful_shutdown_timeout_s=5,
        ray_actor_options={"num_cpus": 0, "num_gpus": 1 if gpus else 0},
    )
    application: rayserve.Application = deployment.bind(settings)
    return application


async def read_health() -> Health:
    """How many replicas are warm, asked of Serve's controller."""
    status = await asyncio.to_thread(rayserve.status)
    states = [
        deployment.replica_states
        for application in status.applications.values()
        for deployment in application.deployments.values()
    ]
    ready = sum(state.get(ReplicaState.RUNNING, 0) for state in states)
    count = sum(sum(state.values()) for state in states)
    return Health(is_ready=0 < ready == count, replicas_ready=ready, replicas=count)


def middlewares() -> list[Middleware]:
    """What Ray's proxy puts before the application (`RAY_SERVE_HTTP_PROXY_CALLBACK_…`)."""
    keep_connections_in_bounds()
    return [Middleware(Front, health=read_health)]


async def read_body(stream: AsyncIterator[bytes], max_bytes: int, limit_s: float) -> bytes:
    """A request's body.

    Raises:
        ApiError: 413, it is longer; 408, it is not here in time.
        ClientDisconnect: The client has hung up.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for chunk in stream:
                body += chunk
                if len(body) > max_bytes:
                    raise too_long(max_bytes)
    except TimeoutError as err:
        raise too_slow(limit_s) from err
    return bytes(body)


class Loaded(msgspec.Struct, frozen=True):
    """A warm model, what `GET /v1/models` tells of it, and its GPU's UUID."""

    model: Model[Any]
    facts: Mapping[str, object]
    gpu_uuid: str | None


async def _load(settings: Settings) -> Loaded:
    if settings.is_stub:
        from serve.stub.model import StubModel

        stub = StubModel(
            fixed_s=settings.stub_fixed_s,
            step_s=settings.stub_step_s,
            image_bytes=settings.stub_image_bytes,
            outage_s=settings.outage_s,
        )
        return Loaded(stub, {"device": "cpu", "image_s": stub.image_s(settings.steps)}, None)
    os.environ.update(hub_environment(settings.weights))
    from serve.diffusion.startup import start

    warm = await asyncio.to_thread(start, settings)
    return Loaded(warm.model, warm.facts, warm.model.gpu_uuid)


def _keep_grpc_on_loopback() -> None:
    """Bind this replica's gRPC port to loopback; Ray 2.60 binds it to every interface."""
    from ray.serve._private import replica

    ray_replica: Any = replica
    original = ray_replica.add_port_to_grpc_server

    def bind(server: Any, address: str) -> int:
        port: int = original(server, address.replace("[::]", "127.0.0.1"))
        return port

    ray_replica.add_port_to_grpc_server = bind
