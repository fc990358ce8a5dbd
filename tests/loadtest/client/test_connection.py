import contextlib
import socket
from collections.abc import Iterator

import gevent
import gevent.event
import gevent.server
import pytest

from loadtest.client.connection import READS_A_TURN, HungUp, Plug, Wire, WireError, parse_head
from loadtest.client.image_client import Exchange, ImageClient

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"
BIG = b"x" * 300_000


class Script:
    """A socket that receives what a test wrote, piece by piece, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    def recv_into(self, buffer: memoryview) -> int:
        if not self.pieces:
            return 0
        piece, rest = self.pieces[0][: len(buffer)], self.pieces[0][len(buffer) :]
        buffer[: len(piece)] = piece
        self.pieces[:1] = [rest] if rest else []
        return len(piece)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.pieces.clear()


def body_of(*pieces: bytes) -> bytes:
    plug: Plug = Script(*pieces)
    return bytes(Wire(plug).ask(b"?", lambda: None)[1])


def chunked(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x;a=b\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n"


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[k : k + step] for k in range(0, len(data), step)]


@pytest.mark.parametrize("step", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (ANSWER, b"12345"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, b"12345"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\n12345", b"12345"),  # no reason, no space
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (chunked(b"123", b"45") + b"\r\n", b"12345"),
        (chunked(b"12345") + b"Trailer: x\r\n\r\n", b"12345"),
    ],
)
def test_an_answer_is_whole_however_it_is_cut(answer: bytes, body: bytes, step: int) -> None:
    assert body_of(*cut(answer, step)) == body


def test_a_large_body_fills_one_buffer() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    assert body_of(head % len(BIG) + BIG) == BIG
    huge = BIG * 40  # more than is given room for before it comes
    assert body_of(head % len(huge) + huge) == huge


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP/1.1: the server speaks SSH"),  # and then waits
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP/1.1: the server speaks SSH"),
        (b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80", "speaks HTTP/2 only"),  # SETTINGS
        (b"\x15\3\1\0\2\2\x46", "speaks TLS: give --host https"),  # an alert
        (b"220 mail.example.com ESMTP\r\n", "speaks SMTP or FTP"),
        (b"-ERR unknown command 'POST'\r\n", "speaks Redis or POP3"),
        (b"<html>hello", "speaks HTML without HTTP"),  # HTTP/0.9
        (b"\x1b]0;title\7", "no HTTP/1.1$"),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\n12345", "end in LF alone"),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n", "end in LF alone"),  # named before its end
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "Content-Length is -5"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "Content-Length is five"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "is 5, 6"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding is gzip"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "head is too long"),
        (chunked()[:-3] + b"zz\r\n", "a chunk of the answer has no length"),
        (chunked()[:-3] + b"1\r\n12345", "does not end where it should"),
    ],
)
def test_what_is_no_answer_is_named(answer: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        body_of(answer)


@pytest.mark.parametrize("answer", [b"", ANSWER[:9], ANSWER[:-1], chunked(b"12345")[:-4]])
def test_an_answer_cut_short_is_never_whole(answer: bytes) -> None:
    with pytest.raises(HungUp, match="closed the connection before its answer was whole"):
        body_of(answer)


@pytest.mark.parametrize(
    ("head", "is_kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close", False),
        (b"HTTP/1.1 200 OK", False),  # ends with the connection
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive", True),
    ],
)
def test_when_a_connection_can_be_used_again(head: bytes, is_kept: bool) -> None:
    assert parse_head(head).is_kept == is_kept


def test_headers_are_lower_case_and_repeats_are_joined() -> None:
    head = parse_head(b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nX-A: 1\r\nx-a:2 ")
    assert (head.status, head.headers) == (503, {"retry-after": "7", "x-a": "1, 2"})


# -- the client, against a real socket: a script of what the server does, a list a connection


class Server:
    def __init__(self, connections: list[list[bytes | None]]) -> None:
        self.connections = connections
        self.requests: list[bytes] = []

    def serve(self, plug: socket.socket, _address: object) -> None:
        for answer in self.connections.pop(0):
            self.requests.append(plug.recv(1 << 16))
            if answer is None:  # hangs until the client hangs up
                plug.recv(1)
            else:
                plug.sendall(answer)


@contextlib.contextmanager
def client_of(url: str, timeout_s: float = 5.0, key: str | None = None) -> Iterator[ImageClient]:
    client = ImageClient(url, timeout_s, {"Authorization": f"Bearer {key}"} if key else {})
    yield client
    client.close()


@contextlib.contextmanager
def serving(*connections: list[bytes | None]) -> Iterator[tuple[Server, str]]:
    server = Server(list(connections))
    listening = gevent.server.StreamServer(("127.0.0.1", 0), server.serve)
    listening.start()
    yield server, f"http://127.0.0.1:{listening.server_port}/v1/images?a=b"
    listening.stop(timeout=0)


def post(client: ImageClient, patience_s: float = 60.0) -> Exchange:
    exchange = client.exchange()
    client.post(exchange, b'{"n":1}', patience_s)
    gevent.idle()  # the server goes on
    return exchange


def test_a_request_is_one_piece_and_the_connection_is_kept() -> None:
    with serving([ANSWER, ANSWER]) as (server, url), client_of(url, key="secret") as client:
        for _ in range(2):
            exchange = post(client)
            assert (exchange.status, bytes(exchange.body), exchange.error) == (200, b"12345", None)
            assert exchange.first_byte_s is not None
            assert exchange.done_s is not None
            assert exchange.sent_s <= exchange.first_byte_s <= exchange.done_s
    assert server.requests[0] == server.requests[1]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"n":1}'
    assert head.startswith(b"POST /v1/images?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer secret\r\n" in head
    assert head.endswith(b"\r\nContent-Length: 7")


def test_a_kept_connection_that_was_closed_is_replaced_and_the_request_sent_once_more() -> None:
    with serving([ANSWER], [ANSWER]) as (server, url), client_of(url) as client:
        assert [post(client).error for _ in range(2)] == [None, None]
    assert len(server.requests) == 2


@pytest.mark.parametrize("begun", [b"", ANSWER[:12]])
def test_a_request_that_may_have_been_served_is_never_sent_again(begun: bytes) -> None:
    # on a new connection; and on a kept one as soon as a byte of an answer came
    first: list[bytes | None] = [ANSWER, begun] if begun else [b""]
    with serving(first, [ANSWER]) as (server, url), client_of(url) as client:
        if begun:
            assert post(client).error is None
        assert "closed the connection" in (post(client).error or "")
        assert len(server.requests) == len(first)
        assert post(client).error is None  # what comes next has a new connection


def test_patience_and_the_time_limit_are_told_apart_and_the_connection_is_dropped() -> None:
    with serving([None], [None], [ANSWER]) as (_, url):
        with client_of(url) as client:
            impatient = post(client, patience_s=0.05)
            assert (impatient.timed_out, impatient.gave_up) == (True, True)
        with client_of(url, timeout_s=0.2) as client:
            late = post(client)
            assert (late.timed_out, late.gave_up, late.status) == (True, False, None)
            assert post(client).status == 200


def test_nobody_there_is_an_error_in_words() -> None:
    with serving() as (_, url):
        pass
    with client_of(url) as client:
        assert "refused" in (post(client).error or "")


# What a server may send for ever: each ends, though the data never does. Found with a hostile
# server: the first two held the whole generator up, the others took all of its memory.
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "interim answers"),
    "head": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 999 + b"\r\n", "head is too long"),
    "trailers": (chunked(b"12345"), b"T: x\r\n", "trailers are too long"),
    "a chunk's line": (chunked()[:-3], b"0" * 999, "no length|too long"),
    "chunks": (chunked()[:-3], b"ff\r\n" + b"x" * 255 + b"\r\n", "longer than the 1,000 bytes"),
    "until the end": (b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 999, "longer than the 1,000 bytes"),
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", b"x", "longer than"),
}


class Endless(Script):
    """After what a test wrote, one piece again and again."""

    def __init__(self, first: bytes, again: bytes) -> None:
        super().__init__(*([first] if first else []))
        self.again = again
        self.reads = 0

    def recv_into(self, buffer: memoryview) -> int:
        self.reads += 1
        assert self.reads < 100_000
        if not self.pieces:
            self.pieces = [self.again]
        return super().recv_into(buffer)


@pytest.mark.parametrize(("first", "again", "said"), ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_cut_off(first: bytes, again: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        Wire(Endless(first, again)).ask(b"?", lambda: None, 1000)


def test_the_loop_gets_its_turn_however_fast_data_comes() -> None:
    turns: list[None] = []
    plug = Endless(b"HTTP/1.0 200 OK\r\n\r\n", b"x" * 100)
    with pytest.raises(WireError):
        Wire(plug, lambda: turns.append(None)).ask(b"?", lambda: None, 100_000)
    assert len(turns) == plug.reads // READS_A_TURN > 50


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 5000, "-5", "1e3", "٣", "5, 6", "+5"])
def test_a_length_that_is_none_is_refused(digits: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {digits}".encode()
    with pytest.raises(WireError, match="Content-Length is"):
        parse_head(head)


def test_what_follows_a_chunked_answer_belongs_to_nothing() -> None:
    answer = chunked(b"12345") + b"\r\n"
    for extra, is_kept in ((b"", True), (b"HTTP/1.1 200 OK\r\n", False)):
        reply, body = Wire(Script(answer + extra)).ask(b"?", lambda: None)
        assert bytes(body) == b"12345"
        assert reply.is_kept is is_kept


TIMED_OUT = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("extra", "unasked"), [(ANSWER.replace(b"12345", b"other"), 1), (b"\r\n", 1), (TIMED_OUT, 0)]
)
def test_what_comes_on_an_idle_connection_is_no_answer(extra: bytes, unasked: int) -> None:
    """A server that answered twice had its second answer taken for the next request's."""
    sent = gevent.event.Event()

    class Twice(Server):
        def serve(self, plug: socket.socket, address: object) -> None:
            self.requests.append(plug.recv(1 << 16))
            plug.sendall(ANSWER)
            if len(self.requests) == 1:
                gevent.sleep(0.01)
                plug.sendall(extra)
                sent.set()
            plug.recv(1)

    server = Twice([])
    listening = gevent.server.StreamServer(("127.0.0.1", 0), server.serve)
    listening.start()
    with client_of(f"http://127.0.0.1:{listening.server_port}/") as client:
        assert bytes(post(client).body) == b"12345"
        sent.wait(5.0)
        assert bytes(post(client).body) == b"12345"
        assert client.unasked == unasked
    listening.stop(timeout=0)
    assert len(server.requests) == 2  # on two connections


def test_a_time_limit_passes_though_data_never_ends() -> None:
    class Forever(Server):
        def serve(self, plug: socket.socket, address: object) -> None:
            plug.recv(1 << 16)
            plug.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    plug.sendall(b"1\r\nx\r\n" * 9999)

    listening = gevent.server.StreamServer(("127.0.0.1", 0), Forever([]).serve)
    listening.start()
    with client_of(f"http://127.0.0.1:{listening.server_port}/", timeout_s=0.2) as client:
        exchange = post(client)
    listening.stop(timeout=0)
    assert exchange.timed_out
    assert exchange.done_s is not None
    assert exchange.done_s - exchange.sent_s < 30.0  # not never, on a busy machine either
