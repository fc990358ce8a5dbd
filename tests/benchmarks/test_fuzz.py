"""The fuzzer itself: the same seed draws the same requests, and its judge sees what is wrong."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from benchmarks import fuzz_bodies, fuzz_http
from benchmarks.fuzz_case import Case, case, chunked, read_corpus, request, write_corpus
from benchmarks.fuzz_draw import nth
from benchmarks.fuzz_good import fault_of
from benchmarks.fuzz_judge import Answer, Seen, faults
from benchmarks.fuzz_player import play
from benchmarks.fuzz_server import exceptions_in

DONE = b"event: image_generation.completed\ndata: {}"
EVENTS = "text/event-stream"
JSON = {"content-type": "application/json"}
ERROR = {"message": "n: too many", "type": "invalid_request_error", "param": "n", "code": None}
GET = case("place", request("GET", "/"))
ODD = case("line", b"GET\r\n\r\n", due="end")
HALF = case("half", b"GE", due="nothing")
OWN_PAGE = b"<html><body><h1>400 Bad request</h1>\n</body></html>\n"
IMAGES = b'{"created":1,"data":[{"b64_json":"eA=="}]}'


def error(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, JSON if headers is None else headers, data)


def good(body: bytes, kind: str = "application/json") -> Answer:
    return Answer(200, {"content-type": kind}, body)


@pytest.mark.parametrize(
    ("asked", "answers", "rules"),
    [
        (GET, [error(400, {"error": ERROR})], []),
        (GET, [], ["unanswered"]),
        (GET, [error(404, {"error": ERROR})] * 2, ["extra"]),
        (GET, [error(500, {"error": ERROR})], ["5xx"]),
        (GET, [error(503, {"error": {**ERROR, "code": "deadline_exceeded"}})], []),
        (GET, [error(503, {"error": {**ERROR, "code": "proxy_error"}})], ["5xx"]),
        (GET, [error(400, {"error": {**ERROR, "more": 1}})], ["form"]),
        (GET, [error(400, {"error": {**ERROR, "message": ""}})], ["form"]),
        (GET, [error(400, {"error": {**ERROR, "param": 1}})], ["form"]),
        (GET, [error(400, {"detail": "x"})], ["form"]),
        (GET, [error(400, b"Bad Request")], ["form"]),
        (GET, [error(400, {"error": ERROR}, {"content-type": "text/html"})], ["form"]),
        (GET, [error(400, OWN_PAGE, {})], ["form"]),
        (ODD, [error(400, OWN_PAGE, {})], []),
        (ODD, [error(403, OWN_PAGE, {})], ["form"]),
        (ODD, [], ["unanswered"]),
        (HALF, [], []),
        (HALF, [error(502, {"error": ERROR})], ["5xx"]),
        (GET, [error(400, {"error": {**ERROR, "message": 'File "/x.py"'}})], []),
        (GET, [error(400, b"Traceback (most recent call last):")], ["traceback", "form"]),
        (GET, [good(IMAGES)], []),
        (GET, [good(b'{"created":1,"data":[]}')], ["good"]),
        (GET, [good(b'{"created":1,"data":[{"url":"x"}]}')], ["good"]),
        (GET, [good(b'{"created":1,"da')], ["good"]),
        (GET, [good(b'{"object":"list","data":[]}')], []),
        (GET, [good(b'{"status":"ok"}')], []),
        (GET, [good(b"[]")], ["good"]),
        (GET, [good(DONE + b"\n\n", EVENTS)], []),
        (GET, [good(DONE, EVENTS)], ["good"]),
        (GET, [good(b"", EVENTS)], ["good"]),
        (GET, [good(b"event: error\ndata: {}\n\n", EVENTS)], ["good"]),
    ],
)  # fmt: skip
def test_the_judge(asked: Case, answers: list[Answer], rules: list[str]) -> None:
    found = faults(asked, Seen(answers=tuple(answers)))
    assert [fault.partition(":")[0] for fault in found] == rules


def test_the_judge_knows_what_status_is_due_and_what_is_garbled() -> None:
    asked = Case(kind="x", sends=("GET",), statuses=(404,))
    assert faults(asked, Seen(answers=(error(404, {"error": ERROR}),))) == []
    assert faults(asked, Seen(answers=(error(400, {"error": ERROR}),))) == [
        "status: 400 where 404 is due"
    ]
    assert faults(HALF, Seen(fault="cut short")) == ["garbled: cut short"]
    assert faults(ODD, Seen(ended=True)) == []


def test_the_same_seed_draws_the_same_requests() -> None:
    drawn = [nth(5, number) for number in range(300)]
    assert drawn == [nth(5, number) for number in range(300)]
    assert drawn != [nth(6, number) for number in range(300)]
    assert all(each.pieces for each in drawn)


def test_every_kind_is_drawn() -> None:
    for make, _ in [*fuzz_bodies.KINDS, *fuzz_http.KINDS]:
        assert make(random.Random(1)).pieces
    assert {fuzz_http.draw_slow(random.Random(n)).is_slow for n in range(50)} == {True}


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    cases = [nth(5, number) for number in range(50)]
    write_corpus(tmp_path / "corpus", cases)
    assert read_corpus(tmp_path / "corpus") == cases
    assert (tmp_path / "corpus").read_text().isascii()


@pytest.mark.parametrize(
    ("sent", "statuses", "fault"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n", [204], None),
        (b"HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\nok" * 2, [200, 200], None),
        (
            b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a", b"b"),
            [200],
            None,
        ),
        (b"HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\nok", [], "cut short"),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", [], "ValueError"),
        (b"SSH-2.0\r\n\r\n", [], "ValueError"),
        (b"", [], None),
    ],
)
def test_answers_are_read(sent: bytes, statuses: list[int], fault: str | None) -> None:
    async def scene() -> Seen:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(sent)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await play(case("x", b"GET", answers=None), port, 10.0)

    seen = asyncio.run(scene())
    assert [answer.status for answer in seen.answers] == statuses
    assert (seen.fault or "").startswith(fault or "")
    assert (seen.fault is None) == (fault is None)


def test_a_good_clients_answer_is_held_against_what_it_asked() -> None:
    png = b'{"data":[{"b64_json":"iVBORw0KGgo="}]}'
    assert fault_of(200, png, 1) is None
    assert fault_of(200, png, 2) == "1 images where 2 were asked for"
    assert fault_of(200, IMAGES, 1) == "no PNG"
    assert fault_of(429, b"", 1) is None
    assert fault_of(500, b"x", 1) == "HTTP 500: b'x'"


def test_tracebacks_of_a_log_are_counted_by_their_last_line() -> None:
    trace = "Traceback (most recent call last):\n  File x\n    y\nValueError: no\n"
    assert exceptions_in(f"a\n{trace}b\n{trace}") == {"ValueError: no": 2}
    assert not exceptions_in("ValueError: no\n")
