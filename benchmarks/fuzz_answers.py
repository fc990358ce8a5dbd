"""Answers of an image server, mutated: what the crowd's reader may get. Pure.

Whole ones are damaged anywhere; or in one part alone, the rest made to fit, so that what reads
that part gets to see it: heads, lengths, chunks, packed bodies, JSON, images, told figures.
"""

import base64
import functools
import gzip
import io
import random
import zlib
from collections.abc import Callable

import brotli
import msgspec
from PIL import Image

from benchmarks.fuzz_bodies import mutate
from benchmarks.fuzz_case import chunked
from benchmarks.fuzz_values import VALUES

SIDE = 64
Lines = list[tuple[bytes, bytes]]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a server sends for an answer.

    Attributes:
        kind: Which part is damaged.
        data: All of it.
        hangs_up: Whether the server then ends the connection; else it waits for more requests.
    """

    kind: str
    data: bytes
    hangs_up: bool


def nth(seed: int, number: int) -> Told:
    """The mutated answer of that number to a request for one image of SIDE by SIDE pixels."""
    chance = random.Random(f"answer:{seed}:{number}")
    (make,) = chance.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
    return make(chance)


def nth_list(seed: int, number: int) -> Told:
    """A mutated list of models."""
    chance = random.Random(f"models:{seed}:{number}")
    body = _json(chance) if chance.random() < 0.2 else _of_values(MODELS, chance)
    if chance.random() < 0.1:
        word = chance.choice(LETTERS) * int(10 ** chance.uniform(3, 5))
        body = MODELS.replace(chance.choice([b"image", b"sdxl", b"64x64"]), word)
    if chance.random() < 0.3:
        body = mutate(body, chance)
    data = message(chance.choice([200, 200, 200, 401, 404, 429, 500, 301]), _figures(chance), body)
    if chance.random() < 0.2:
        data = mutate(data, chance)
    return Told(kind="models", data=data, hangs_up=True)


def whole(chance: random.Random) -> Told:
    """A good or an honest bad answer, unharmed or damaged anywhere."""
    data = message(*_honest(chance))
    if chance.random() < 0.8:
        data = mutate(data, chance)
    return _told("whole", data, chance)


def head(chance: random.Random) -> Told:
    """A head damaged; the body is as it was."""
    start, _, body = message(*_honest(chance)).partition(b"\r\n\r\n")
    return _told("head", mutate(start, chance) + b"\r\n\r\n" + body, chance)


def figures(chance: random.Random) -> Told:
    """Figures that cannot be, in the headers of a good answer."""
    return _told("figures", message(200, _figures(chance), good(chance)), chance)


def length(chance: random.Random) -> Told:
    """A length that is not the body's."""
    body = good(chance)
    near = len(body) + chance.randint(-5, 5)
    told = chance.choice([b"%d" % near, b"%d, %d" % (near, len(body)), *LENGTHS])
    start = b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n" % told
    if chance.random() < 0.2:
        start += b"Content-Length: %d\r\n" % len(body)
    return _told("length", start + b"\r\n" + body, chance)


def chunks(chance: random.Random) -> Told:
    """Chunks damaged in framing or cut short, or very many."""
    body = good(chance)
    cuts = sorted(chance.choices(range(len(body)), k=chance.choice([1, 3, 20])))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    framed = chunked(*pieces)
    if chance.random() < 0.1:
        framed = chance.choice([b"1\r\nx\r\n" * 20_000, framed[:-2] + b"a: b\r\n" * 20_000])
    elif chance.random() < 0.8:
        framed = mutate(framed, chance)
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _told("chunks", start + framed, chance)


def packed(chance: random.Random) -> Told:
    """A packed body damaged, or one that unpacks to far more."""
    name, pack = chance.choice(PACKERS)
    body = pack(good(chance) if chance.random() < 0.9 else bytes(20_000_000))
    if chance.random() < 0.8:
        body = mutate(body, chance)
    coding = chance.choice([name, name, name, b"gzip, " + name, b"x", name + b"," + name])
    status = chance.choice([200, 200, 500])
    return _told("packed", message(status, [(b"Content-Encoding", coding)], body), chance)


def words(chance: random.Random) -> Told:
    """JSON whose values are anything, of any status."""
    status = chance.choice([200, 200, 400, 429, 500, 503, 302])
    return _told("json", message(status, _figures(chance), _json(chance)), chance)


def image(chance: random.Random) -> Told:
    """An image damaged, or its base64; the JSON around it is whole."""
    file = base64.b64encode(mutate(base64.b64decode(chance.choice(_images())), chance))
    if chance.random() < 0.2:
        file = mutate(file, chance).replace(b'"', b"").replace(b"\\", b"")
    return _told("image", message(200, [], _body(file)), chance)


def repeated(chance: random.Random) -> Told:
    """An answer sent twice, or behind many interim ones."""
    data = message(*_honest(chance))
    interim = b"HTTP/1.1 %d x\r\n\r\n" % chance.choice([100, 102, 103, 199])
    return _told("repeated", chance.choice([data * 2, interim * 3 + data, interim * 500]), chance)


def long_words(chance: random.Random) -> Told:
    """Long words of few letters where a text stands: what looks at them must not look for long."""
    word = chance.choice(LETTERS) * int(10 ** chance.uniform(3, 5)) + chance.choice(LETTERS)
    status, form = chance.choice(WORDED)
    return _told("long", message(status, [], form % word), chance)


def message(status: int, lines: Lines, body: bytes) -> bytes:
    """An answer with its length."""
    head = b"".join(b"%b: %b\r\n" % line for line in lines)
    return b"HTTP/1.1 %d x\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(body), body)


def good(chance: random.Random) -> bytes:
    """The body of a good answer."""
    return _body(chance.choice(_images()))


def _told(kind: str, data: bytes, chance: random.Random) -> Told:
    """Most servers hang up behind it: whoever waits for more waits until the time limit."""
    return Told(kind=kind, data=data, hangs_up=chance.random() < 0.9)


def _body(image: bytes) -> bytes:
    return b'{"created":1,"data":[{"b64_json":"%b"}],"size":"64x64"}' % image


@functools.cache
def _images() -> tuple[bytes, ...]:
    """An image of SIDE by SIDE pixels in each format, in base64."""
    found = []
    for kind in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(file, kind)
        found.append(base64.b64encode(file.getvalue()))
    return tuple(found)


def _honest(chance: random.Random) -> tuple[int, Lines, bytes]:
    """Status, headers and body of an answer as servers give it."""
    told = [(name, value[0]) for name, value in FIGURES.items()]
    lines = chance.sample(told, chance.randint(0, len(told)))
    if chance.random() < 0.6:
        return 200, lines, good(chance)
    status, body = chance.choice(ERRORS)
    return status, lines, body


def _figures(chance: random.Random) -> Lines:
    """Headers that tell figures, most of them nonsense."""
    names = chance.sample(list(FIGURES), chance.randint(1, 3))
    return [(name, chance.choice([*FIGURES[name], *NUMBERS])) for name in names]


def _json(chance: random.Random) -> bytes:
    return _of_values(chance.choice([*(body for _, body in ERRORS), good(chance)]), chance)


def _of_values(body: bytes, chance: random.Random) -> bytes:
    """JSON with some of its values replaced by any; now and then by what is no JSON."""
    words = body.replace(b",", b"\0,\0").replace(b":", b"\0:\0").replace(b"}", b"\0}").split(b"\0")
    for _ in range(chance.randint(1, 3)):
        words[chance.randrange(len(words))] = chance.choice(VALUES)
    return b"".join(words)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


PACKERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", lambda data: gzip.compress(data, mtime=0)),
    (b"deflate", zlib.compress),
    (b"deflate", _raw_deflate),
    (b"br", lambda data: brotli.compress(data, quality=1)),
    (b"zstd", _zstd),
]
ERRORS: list[tuple[int, bytes]] = [
    (400, b'{"error":{"message":"n: too many","type":"invalid","param":"n","code":null}}'),
    (422, b'{"detail":[{"loc":["body","n"],"msg":"too many","type":"x"}]}'),
    (429, b'{"error":"busy","message":"try again"}'),
    (500, b"<html><head><title>500 &amp; gone</title></head><body></body></html>"),
    (503, b'{"errors":[{"title":"down","status":503}],"reason":"x"}'),
    (502, b"Bad gateway\n"),
    (302, b""),
    (204, b""),
]
FIGURES = {
    b"Server-Timing": [b"queue;dur=1.5, text;dur=0.1, denoise;dur=9", b"queue;dur", b";;,,=dur="],
    b"X-Flop": [b"1e9"],
    b"X-Batch-Mean": [b"2.5"],
    b"X-Replica": [b"abc", b"\xff\x1b[2J", b"a" * 20_000],
    b"X-Request-Id": [b"1", b"\x00"],
    b"X-Gpu-Uuid": [b"GPU-1"],
    b"Retry-After": [b"1", b"Wed, 21 Oct 2015 07:28:00 GMT"],
    b"Location": [b"/v2", b"http://[::1", b"//x:99999999/", b"http://a:b@c/\x1b", b"\xff"],
    b"Content-Type": [b"application/json", b"text/event-stream"],
    b"Connection": [b"close", b"keep-alive", b"close, keep-alive"],
    b"Content-Encoding": [b"identity", b"", b"gzip"],
    b"Transfer-Encoding": [b"identity", b"gzip", b"chunked, chunked"],
}
NUMBERS = [
    b"-1", b"0", b"1e300", b"1e400", b"nan", b"inf", b"-inf", b"0x1", b"1_0", b"9" * 5000, b"",
    b" ", b"\xc2\xb2", b"1e-320", b"queue;dur=nan", b"denoise;dur=-inf",
    b"text;dur=1e300,queue;dur=1e300",
]  # fmt: skip
LENGTHS = [
    b"", b"-1", b"1e3", b"9" * 5000, b"9" * 18, b"10000000000", b"0", b"0x10", b"1, 2", b"\xb2",
    b"+5",
]  # fmt: skip
LETTERS = [
    b"-", b"A", b"=", b"A-", b"-=", b"/", b" ", b"!", b"<title", b"image", b"\\n", b"\\u2028",
    b"data:", b"a;b=c,", b"{", b"../",
]  # fmt: skip
WORDED = [
    (200, b'{"data":[{"b64_json":"%b"}]}'), (200, b'{"data":[],"error":"%b"}'),
    (200, b'{"data":[{"url":"%b"}]}'), (200, b"%b"), (500, b"<html>%b"), (429, b"%b"),
    (500, b'{"detail":[{"loc":["%b"]}]}'), (500, b'{"message":"%b"}'),
]  # fmt: skip
MODELS = (
    b'{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"x","viralload":'
    b'{"default_size":"64x64","default_steps":20,"is_stub":true,"replicas":1,"max_batch":8,'
    b'"limits":{"device_name":"x","matmul_flop_per_s":1e12,"threads":2,"measured_s":1},'
    b'"flop_per_image":1e9,"image_s":0.05,"fp8":{"relative_error":0.1},'
    b'"shortcuts":{"cache_steps":2,"guidance_until":0.5,"relative_error":0}}},'
    b'{"id":"sdxl","type":"image"},{"id":"gpt-4o","type":"chat"}]}'
)
KINDS: list[tuple[Callable[[random.Random], Told], float]] = [
    (whole, 25),
    (head, 12),
    (figures, 10),
    (length, 10),
    (chunks, 13),
    (packed, 10),
    (words, 12),
    (image, 10),
    (repeated, 3),
    (long_words, 5),
]
