"""Hostile HTTP: heads, lengths, framing, other methods and protocols, slow clients. Pure.

Drawn from a `random.Random` alone, as the bodies are.
"""

import random
from collections.abc import Callable

import msgspec

from benchmarks.fuzz_bodies import PLAIN, mutate
from benchmarks.fuzz_case import GENERATIONS, Case, case, chunked, request
from benchmarks.fuzz_lines import (
    CHUNKS,
    CODINGS,
    HEADERS,
    KNOWN,
    LENGTHS,
    LINES,
    METHODS,
    MODELS,
    OTHERS,
    PATHS,
    RAYS,
    TE,
    UNAMBIGUOUS,
)

POST = request(body=PLAIN)
HEALTH = request("GET", "/health")
NOWHERE = request("GET", "/nowhere")
BAD = request(body=b"{}")
HIDDEN = request("GET", "/hidden")  # what a smuggler hides in another request


def draw(chance: random.Random) -> Case:
    """Hostile HTTP of any kind that does not take long."""
    (make,) = chance.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
    return make(chance)


def draw_slow(chance: random.Random) -> Case:
    """A client that sends slowly, stops, or does not read."""
    made = chance.choice(SLOW)(chance)
    return msgspec.structs.replace(made, is_slow=True)


def request_line(chance: random.Random) -> Case:
    """First lines that are none, or odd ones."""
    line = chance.choice(LINES)
    return case("line", line + b"\r\nHost: x\r\n\r\n", due="end")


def header(chance: random.Random) -> Case:
    """Header lines that are none, or odd ones."""
    line = chance.choice(HEADERS)
    start = chance.choice([b"GET /v1/models", b"POST " + GENERATIONS.encode()])
    head = start + b" HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"
    return case("header", head, due="end")


def of_ray(chance: random.Random) -> Case:
    """Headers that Ray would read, with any bytes in them."""
    name = chance.choice(RAYS)
    value = chance.choice([b"\xff", b"", b"a" * 300, b"?1", b"0.001", b"-1", b"x, y", b"\xc3\x28",
                           chance.randbytes(4).translate(None, b"\0\r\n") + b"\xfe"])  # fmt: skip
    lines = b"%b: %b\r\n" % (name, bytes(b for b in value if b >= 0x20 and b != 0x7F))
    return case("header-of-ray", request(headers=lines, body=PLAIN))


def length(chance: random.Random) -> Case:
    """Lengths that are none, too large, or told twice."""
    lines = chance.choice(LENGTHS)
    return case("length", _post(lines, PLAIN), due="end", answers=None)


def chunks(chance: random.Random) -> Case:
    """Chunks that are framed wrongly."""
    body = chance.choice(CHUNKS)
    if chance.random() < 0.3:
        body = mutate(chunked(PLAIN), chance)
        return case("chunks-mutated", _post(TE, body), due="nothing", answers=None)
    return case("chunks", _post(TE, body), due="nothing", answers=None)


def good_chunks(chance: random.Random) -> Case:
    """Valid chunks, however small, with extensions and trailers."""
    cuts = sorted(chance.choices(range(len(PLAIN) + 1), k=chance.randint(0, 40)))
    pieces = [PLAIN[a:b] for a, b in zip([0, *cuts], [*cuts, len(PLAIN)], strict=True) if a < b]
    mark = chance.choice([b"", b";a=b", b';a="b;c"', b";a"])
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(each), mark, each) for each in pieces)
    end = chance.choice([b"0\r\n\r\n", b"000\r\nTrailer: x\r\n\r\n"])
    return case("chunks-good", _post(TE, body + end))


def smuggling(chance: random.Random) -> Case:
    """Two readings of one request's length, a second request hidden between them."""
    te = chance.choice(CODINGS)
    hidden = chance.choice([HIDDEN, POST, b"GET /hidden HTTP/1.1\r\nX: "])
    body = chance.choice([b"0\r\n\r\n" + hidden, chunked(hidden), chunked(PLAIN) + hidden])
    told = chance.choice([0, 4, 5, len(body), len(body) - len(hidden), len(PLAIN)])
    lines = [b"Content-Length: %d\r\n" % told, te]
    chance.shuffle(lines)
    answers = None if te in UNAMBIGUOUS else 1
    return case("smuggling", _post(b"".join(lines), body), due="nothing", answers=answers)


def pipeline(chance: random.Random) -> Case:
    """Valid requests one after the other, without waiting."""
    asked = chance.choices(
        [(MODELS, 200), (HEALTH, 200), (NOWHERE, 404), (BAD, 400), (POST, 200)],
        k=chance.choice([2, 3, 5, 10, 50]),
    )
    data = b"".join(each for each, _ in asked)
    pieces = [data] if chance.random() < 0.5 else [data[:70], data[70:]]
    made = case("pipeline", *pieces, answers=len(asked))
    statuses = tuple(status for _, status in asked)
    return msgspec.structs.replace(made, statuses=statuses if POST not in dict(asked) else ())


def half(chance: random.Random) -> Case:
    """A request cut anywhere; the client hangs up."""
    whole = chance.choice([POST, MODELS, _post(TE, chunked(PLAIN)), BAD])
    return case("half", whole[: chance.randrange(len(whole))], due="nothing")


def expects(chance: random.Random) -> Case:
    """`Expect` of any kind, the body sent at once or never."""
    word = chance.choice([b"100-continue", b"100-Continue", b"200-ok", b"", b"100-continue, x"])
    body = chance.choice([PLAIN, b"x" * 200_000])
    whole = request(headers=b"Expect: %b\r\n" % word, body=body)
    if chance.random() < 0.5:
        return case("expect", whole)
    return case("expect-no-body", whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", due="nothing")


def upgrade(chance: random.Random) -> Case:
    """Requests to go on in another protocol."""
    to = chance.choice([b"websocket", b"WebSocket", b"h2c", b"TLS/1.0", b"foo", b"", b"\xff",
                        b"websocket, h2c", b"h2c, websocket"])  # fmt: skip
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    lines = b"Upgrade: %b\r\n" % to + chance.choice([b"", b"Connection: Upgrade\r\n"])
    lines += chance.choice([b"", key, b"HTTP2-Settings: AAMAAABk\r\n"])
    method = chance.choice(["GET", "POST"])
    path = chance.choice([GENERATIONS, "/", "/-/routes", "/health", "/v1/models"])
    whole = request(method, path, lines, PLAIN if method == "POST" else None)
    return case("upgrade", whole, due="end")


def other_place(chance: random.Random) -> Case:
    """Other methods and paths, all of them valid HTTP."""
    path = chance.choice(PATHS)
    method = chance.choice(METHODS)
    body = chance.choice([None, None, b"", PLAIN])
    is_valid = method in KNOWN and method != "CONNECT" and path[0] == "/" and path.isascii()
    return case("place", request(method, path, body=body), due="answer" if is_valid else "end")


def no_http(chance: random.Random) -> Case:
    """Other protocols, or no protocol at all."""
    data = chance.choice([*OTHERS, chance.randbytes(int(2 ** chance.uniform(0, 12)))])
    return case("no-http", data, due="nothing", answers=None)


def mutation(chance: random.Random) -> Case:
    """A valid request with bytes flipped, cut, repeated, put in, anywhere."""
    whole = chance.choice([POST, MODELS, HEALTH, _post(TE, chunked(PLAIN)), POST + MODELS])
    return case("mutation", mutate(whole, chance), due="nothing", answers=None)


def hang_up(chance: random.Random) -> Case:
    """A whole request whose client is gone before the answer."""
    body = b'{"prompt":"x","n":%d,"num_inference_steps":%d}' % (
        chance.choice([1, 10]), chance.choice([1, 20, 150]),
    )  # fmt: skip
    return case("hang-up", request(body=body), due="nothing")


def slow_head(chance: random.Random) -> Case:
    """A head that trickles, or stops."""
    data = POST[: POST.find(b"\r\n\r\n")] + b"\r\nX: " + b"x" * 100
    at = chance.randrange(1, 60)
    pieces = [data[:at], *(data[k : k + 1] for k in range(at, at + 45))]
    made = case("slow-head", *(pieces if chance.random() < 0.5 else pieces[:1]), due="end")
    return msgspec.structs.replace(made, pause_s=1.0)


def slow_body(chance: random.Random) -> Case:
    """A body that trickles, or stops; by its length, or in chunks."""
    if chance.random() < 0.5:
        start, each = _post(b"Content-Length: 900\r\n", b"{"), b" "
    else:
        start, each = _post(TE, b"1\r\n{\r\n"), b"1\r\n \r\n"
    pieces = [start, *([each] * 45 if chance.random() < 0.5 else [])]
    made = case("slow-body", *pieces)
    return msgspec.structs.replace(made, pause_s=1.0, statuses=(408,))


def slow_and_whole(chance: random.Random) -> Case:
    """A valid request in pieces with pauses, in time."""
    cuts = sorted(chance.choices(range(1, len(POST)), k=chance.randint(1, 5)))
    pieces = [POST[a:b] for a, b in zip([0, *cuts], [*cuts, len(POST)], strict=True)]
    made = case("slow-whole", *pieces)
    return msgspec.structs.replace(made, pause_s=chance.choice([0.1, 1.0, 3.0]))


def idle(chance: random.Random) -> Case:
    """A connection on which nothing comes."""
    return case("slow-idle", chance.choice([b"", b"\r\n"]), due="end")


def unread(chance: random.Random) -> Case:
    """Large answers that are not read for a while."""
    body = b'{"prompt":"x","n":10,"size":"256x256","output_format":"jpeg","output_compression":100}'
    data = request(body=body) * chance.choice([1, 3])
    made = case("slow-unread", data, due="nothing", answers=3)
    return msgspec.structs.replace(made, hold_s=chance.choice([3.0, 10.0]))


def _post(lines: bytes, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n%b" % (GENERATIONS.encode(), lines, body)


KINDS: list[tuple[Callable[[random.Random], Case], float]] = [
    (request_line, 8),
    (header, 12),
    (of_ray, 8),
    (length, 8),
    (chunks, 10),
    (good_chunks, 4),
    (smuggling, 14),
    (pipeline, 3),
    (half, 6),
    (expects, 4),
    (upgrade, 6),
    (other_place, 12),
    (no_http, 6),
    (mutation, 14),
    (hang_up, 2),
]
SLOW = [slow_head, slow_body, slow_and_whole, slow_and_whole, idle, unread]
