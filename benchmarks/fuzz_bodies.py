"""Hostile bodies of `POST /v1/images/generations`, in heads that are valid HTTP. Pure.

A body is drawn from a `random.Random` alone: the same draw gives the same body.
"""

import gzip
import json
import pickle
import random
from collections.abc import Callable, Sequence

from benchmarks.fuzz_case import Case, case, request
from benchmarks.fuzz_values import FIELDS, STRANGERS, VALID, VALUES

Pairs = list[tuple[bytes, bytes]]

PROMPT = (b'"prompt"', b'"a red fox"')
PLAIN = b'{"prompt":"a red fox","size":"64x64"}'
LIMIT = 104_192  # bytes of a body, by default
BYTES_TYPE = b"Content-Type: application/json\r\n"


def draw(chance: random.Random) -> Case:
    """A body of any kind."""
    (make,) = chance.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
    return make(chance)


def one_value(chance: random.Random) -> Case:
    """One field filled with anything, the others well or not at all."""
    field = chance.choice([*FIELDS, *FIELDS, *STRANGERS])
    return _body("body-value", _object(_with(_valid(chance), field, chance.choice(VALUES))))


def combination(chance: random.Random) -> Case:
    """Several fields filled with anything."""
    pairs = _valid(chance)
    for field in chance.sample(FIELDS, chance.randint(2, 6)):
        pairs = _with(pairs, field, chance.choice(VALUES))
    return _body("body-combination", _object(pairs))


def valid(chance: random.Random) -> Case:
    """Nothing wrong: such requests come between the others."""
    return _body("body-valid", _object(_valid(chance)))


def mutation(chance: random.Random) -> Case:
    """A valid body with bytes flipped, cut, repeated, put in."""
    return _body("body-mutation", mutate(_object(_valid(chance)), chance))


def any_bytes(chance: random.Random) -> Case:
    """Random bytes, or random letters of JSON."""
    count = int(2 ** chance.uniform(0, 12))
    if chance.random() < 0.5:
        return _body("body-bytes", chance.randbytes(count))
    letters = chance.choices(b'{}[]",:0123456789eE+-.truefalsn\\u \n', k=count)
    return _body("body-letters", bytes(letters))


def duplicates(chance: random.Random) -> Case:
    """Keys that come twice, in any order."""
    pairs = _valid(chance)
    field = chance.choice(FIELDS)
    many = chance.choice([2, 2, 3, 500])
    pairs += [(b'"%b"' % field.encode(), chance.choice(VALUES[:150])) for _ in range(many)]
    chance.shuffle(pairs)
    return _body("body-duplicate", _object(pairs))


def special(chance: random.Random) -> Case:
    """What is no JSON, is none of ours, or is JSON in another coding."""
    name, body = chance.choice(SPECIAL)
    return _body(f"body-{name}", body)


def typed(chance: random.Random) -> Case:
    """A body that its headers lie about."""
    body = chance.choice([PLAIN, gzip.compress(PLAIN), chance.randbytes(50)])
    lines = chance.choice(LIES)
    return case("body-lie", request(headers=lines, body=body))


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Bytes after one to four accidents."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        end = min(len(out), at + int(2 ** chance.uniform(0, 6)))
        accident = chance.randrange(7)
        if accident == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif accident == 1:
            del out[at:end]
        elif accident == 2:
            out[at:at] = out[at:end] * chance.randint(1, 30)
        elif accident == 3:
            out[at:at] = chance.randbytes(chance.randint(1, 8))
        elif accident == 4:
            out[at:end] = chance.choice(VALUES[:150])
        elif accident == 5:
            del out[at:]
        else:
            out[at:end] = bytes(reversed(out[at:end]))
    return bytes(out)


def _valid(chance: random.Random) -> Pairs:
    """A prompt, and some other fields, well filled."""
    names = chance.sample(list(VALID), chance.randint(0, 5))
    pairs = [(b'"%b"' % name.encode(), chance.choice(VALID[name])) for name in names]
    pairs = [pair for pair in pairs if pair[0] != PROMPT[0]]
    if b'"size"' not in dict(pairs):
        pairs.append((b'"size"', b'"64x64"'))
    return [PROMPT, *pairs]


def _with(pairs: Pairs, field: str, value: bytes) -> Pairs:
    key = b'"%b"' % field.encode()
    return [*(pair for pair in pairs if pair[0] != key), (key, value)]


def _object(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % pair for pair in pairs)


def _body(kind: str, body: bytes) -> Case:
    return case(kind, request(headers=BYTES_TYPE, body=body))


def _sized(length: int) -> bytes:
    """A valid object of so many bytes."""
    return PLAIN.ljust(length)


_TEXT = PLAIN.decode()
SPECIAL: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("blank", b" \r\n\t "),
    ("nul", b"\0" * 100),
    *(("scalar", word) for word in b'null true 1 -0.0 "x" [] {} [[]]'.split()),
    ("list", b"[%b]" % PLAIN),
    ("open", PLAIN[:-1]),
    ("comma", PLAIN[:-1] + b",}"),
    ("comment", b"/* x */" + PLAIN + b"// y"),
    ("quotes", _TEXT.replace('"', "'").encode()),
    ("bare-keys", b'{prompt:"x"}'),
    ("bom", b"\xef\xbb\xbf" + PLAIN),
    ("two-boms", b"\xef\xbb\xbf\xef\xbb\xbf" + PLAIN),
    ("bom-alone", b"\xef\xbb\xbf"),
    *((f"in-{code}", _TEXT.encode(code)) for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32",
                                                      "utf-32-be", "utf-7", "cp037")),
    ("latin-1", '{"prompt":"für"}'.encode("latin-1")),
    ("two-objects", PLAIN + PLAIN),
    ("lines", PLAIN + b"\n" + PLAIN),
    ("behind", PLAIN + b"\0"),
    ("text-behind", PLAIN + b" x"),
    ("record-mark", b"\x1e" + PLAIN),
    ("prefix", b")]}',\n" + PLAIN),
    ("many-keys", b"{%b}" % b",".join(b'"k%d":1' % k for k in range(5000))),
    ("many-prompts", b"{%b}" % b",".join([b'"prompt":"x"'] * 5000)),
    ("deep", b'{"prompt":' * 8000 + b"1" + b"}" * 8000),
    ("deep-open", b"[" * 100_000),
    ("deep-object-open", b'{"":' * 25_000),
    ("form", b"prompt=a+red+fox&size=64x64"),
    ("multipart", b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'),
    ("xml", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;&b;</a>'),
    ("yaml", b"prompt: !!python/object/apply:os.system ['true']\n"),
    ("pickle", pickle.dumps({"prompt": "x"})),
    ("msgpack", b"\x81\xa6prompt\xa1x"),
    ("gzip", gzip.compress(PLAIN, mtime=0)),
    ("gzip-bomb", gzip.compress(b"[" * 10_000_000, mtime=0)),
    ("png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50),
    ("events", b"data: %b\n\n" % PLAIN),
    ("graphql", json.dumps({"query": "{ __schema { types { name } } }"}).encode()),
    ("rpc", json.dumps({"jsonrpc": "2.0", "method": "x", "params": [1], "id": 1}).encode()),
    *(("limit", _sized(length)) for length in (LIMIT - 1, LIMIT)),
    *(("too-long", _sized(length)) for length in (LIMIT + 1, 131_072, 200_000, 1_000_000)),
    ("far-too-long", b"x" * 8_000_000),
]  # fmt: skip

LIES = [
    b"Content-Type: text/plain\r\n",
    b"Content-Type: \r\n",
    b"Content-Type: application/json; charset=utf-16\r\n",
    b"Content-Type: application/json; charset=\xff\r\n",
    b"Content-Type: multipart/form-data; boundary=\r\n",
    b"Content-Type: application/x-www-form-urlencoded\r\n",
    b"Content-Type: application/json\r\nContent-Type: text/xml\r\n",
    b"Content-Type: " + b"a/" * 4000 + b"\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: br, gzip, zstd\r\n",
    b"Content-Encoding: identity\r\n",
    b"Content-Range: bytes 0-1/99\r\n",
    b"Content-MD5: x\r\n",
    b"Accept: application/xml\r\n",
    b"Accept: " + b"*/*," * 3000 + b"*/*\r\n",
    b"Accept-Encoding: gzip;q=NaN\r\n",
    b"Accept-Language: \xff\r\n",
    b"Authorization: Bearer \xff\xfe\r\n",
    b"Authorization: " + b"A" * 30_000 + b"\r\n",
    b"Cookie: " + b"a=b; " * 5000 + b"\r\n",
    b"Range: bytes=0-0\r\n",
    b"If-None-Match: *\r\n",
    b"X-HTTP-Method-Override: DELETE\r\n",
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: \xff\r\n",
    b"Origin: null\r\n",
]
KINDS: list[tuple[Callable[[random.Random], Case], float]] = [
    (one_value, 40),
    (combination, 15),
    (valid, 5),
    (mutation, 20),
    (any_bytes, 5),
    (duplicates, 5),
    (special, 7),
    (typed, 3),
]
