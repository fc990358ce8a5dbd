"""What the server answers: OpenAI's bodies and events, as prepared bytes.

An image comes as a base64 file and is spliced into its body as it is.
"""

import time
from collections.abc import Mapping

import msgspec

from serve.api.requests import ApiError
from serve.engine.request import Done, Order
from serve.settings import Settings

# OpenAI's event must say how many tokens are billed: none are.
NO_USAGE = (
    b'"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0,'
    b'"input_tokens_details":{"image_tokens":0,"text_tokens":0}},'
)


def answer(order: Order, done: Done) -> bytes:
    """The body of a finished request: prepared bytes, the base64 spliced in as it is."""
    recipe = order.recipe
    head = b'{"created":%d,"data":[' % int(time.time())
    data = b",".join(b'{"b64_json":"%b"}' % image for image in done.images)
    tail = b'],"output_format":"%b","size":"%dx%d"}' % (
        order.encoding.output_format.encode(),
        recipe.width,
        recipe.height,
    )
    return head + data + tail


def partial_event(order: Order, index: int, image: bytes) -> bytes:
    """The event of a preview, as OpenAI streams it: the index-th, as a base64 file."""
    return _event(
        order, "image_generation.partial_image", image, b'"partial_image_index":%d,' % index
    )


def completed_event(order: Order, done: Done) -> bytes:
    """The event of the finished image, which ends the stream."""
    return _event(order, "image_generation.completed", done.images[0], NO_USAGE)


def error_event(err: ApiError) -> bytes:
    """The event of a request that failed after its stream had begun."""
    return b"event: error\ndata: %b\n\n" % err.body()


def server_timing(done: Done) -> str:
    """The W3C Server-Timing header: a duration in milliseconds a stage."""
    timing = done.timing
    stages = ("queue", "text", "denoise", "decode", "encode")
    return ", ".join(f"{stage};dur={getattr(timing, stage + '_s') * 1e3:.3f}" for stage in stages)


def model_list(settings: Settings, facts: Mapping[str, object]) -> bytes:
    """OpenAI's model list: the one model there is; see `model_entry`."""
    entry = msgspec.Raw(model_entry(settings, facts))
    return msgspec.json.encode({"object": "list", "data": [entry]})


def model_entry(settings: Settings, facts: Mapping[str, object]) -> bytes:
    """OpenAI's model object, with what a load generator wants to know under `viralload`.

    Args:
        settings: The server's.
        facts: What the replica found out about its model and device.
    """
    sizes = [f"{width}x{height}" for width, height in settings.warm_sizes]
    told: dict[str, object] = {
        "default_size": sizes[0],
        "default_steps": settings.steps,
        "default_guidance_scale": settings.defaults.guidance_scale,
        "max_side": settings.side_limit,
        "max_steps": settings.max_steps,
        "is_stub": settings.is_stub,
        "replicas": settings.replicas or 1,
        "policy": settings.policy,
        "weights": settings.weights,
        "max_batch": settings.stub_servers or settings.batch_limit,
        "max_queue": settings.max_queue,
        "deadline_s": settings.deadline_s,
        "schedulers": settings.defaults.schedulers,
        "warm_sizes": sizes,
        **facts,
    }
    entry = {
        "id": settings.model,
        "object": "model",
        "created": 0,
        "owned_by": "viralload",
        "viralload": told,
    }
    return msgspec.json.encode(entry)


def _event(order: Order, kind: str, image: bytes, extra: bytes) -> bytes:
    """A server-sent event: prepared bytes, the base64 spliced in as it is."""
    recipe = order.recipe
    data = (
        b'{"type":"%b","b64_json":"%b",%b"created_at":%d,"size":"%dx%d","quality":"auto",'
        b'"background":"opaque","output_format":"%b"}'
    ) % (
        kind.encode(),
        image,
        extra,
        int(time.time()),
        recipe.width,
        recipe.height,
        order.encoding.output_format.encode(),
    )
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
