"""An image server of yet another stack (aiohttp), which does legal things that others do not.

    python -m tests.loadtest.asyncio_server

Prints its port. Each request is answered in the next of WAYS.
"""

import asyncio
import base64
import io
import itertools
import json
from typing import Any

from aiohttp import web
from PIL import Image, PngImagePlugin

WAYS = ("plain", "chunked", "close", "text", "jpeg", "spread")
ways = itertools.cycle(WAYS)


def image(kind: str, width: int, height: int, text: bool) -> str:
    """A file in base64; with the text chunks that UIs put into a PNG."""
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text("parameters", "a red fox\nSteps: 30, Sampler: Euler" * 50, zip=True)
        info.add_itxt("prompt", "ein roter Fuchs")
    file = io.BytesIO()
    picture = Image.effect_noise((width, height), 50).convert("RGB")
    picture.save(file, kind, **({"pnginfo": info} if kind == "PNG" else {}))
    return base64.b64encode(file.getvalue()).decode()


async def generate(request: web.Request) -> web.StreamResponse:
    """The asked images, after a while."""
    asked: dict[str, Any] = await request.json()
    way = next(ways)
    width, height = (int(side) for side in asked["size"].split("x"))
    await asyncio.sleep(0.02)
    kind = "JPEG" if way == "jpeg" else "PNG"
    one = {
        "revised_prompt": asked["prompt"],
        "url": None,
        "b64_json": image(kind, width, height, way == "text"),
    }
    told: dict[str, Any] = {"model": "fox-1", "usage": {"total_tokens": 7}, "created": 1.5}
    told |= {"data": [one] * asked["n"], "output_format": kind.lower(), "background": None}
    data = json.dumps(told, indent=4 if way == "spread" else None).encode()
    if way == "chunked":
        answer = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for begin in range(0, len(data), 1000):
            await answer.write(data[begin : begin + 1000])
        await answer.write_eof()
        return answer
    plain = web.Response(body=data, content_type="application/json", headers={"X-Way": way})
    if way == "close":
        plain.force_close()
    return plain


async def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_post("/v1/images/generations", generate)  # and no list of models
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
