"""One kept HTTP/1.1 connection of a client, on a gevent socket.

The answer's body goes from the socket into one buffer of its stated length. Bodies may also come in
chunks, or end with the connection. Nothing is asked again here.

Whatever a server sends, however fast and for however long, has a bound: of the head, of interim
answers, of the body and of what follows it. And between reads the event loop gets its turn, so that
a time limit passes even where data never ends.
"""

import contextlib
import math
import re
from collections.abc import Callable
from typing import Protocol

import msgspec

FIRST_BYTES = 1 << 16  # read at once until the head has come
MAX_INTERIM = 16  # answers of status 1xx before the one
READS_A_TURN = 16  # of up to 64 KiB each; a loop that always finds data would never yield
MAX_HEAD_BYTES = 1 << 16
ROOM_BYTES = 1 << 22  # given to a body at once; a longer one has to come first
END_OF_HEAD = b"\r\n\r\n"
START = b"HTTP/1."
MAX_QUOTED = 40
NO_BODY = (204, 304)

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?$")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?$")
_scratch = memoryview(bytearray(FIRST_BYTES))  # never kept over a switch of greenlets


class WireError(Exception):
    """The peer does not speak HTTP/1.1, or hung up; in a few words."""


class HungUp(WireError):  # noqa: N818 - not a fault while a connection is idle
    """The peer closed the connection."""


# First bytes by which other protocols are known, where HTTP/1.1 was expected
_OTHERS = (
    (b"SSH-", "SSH"),
    (b"\x15\x03", "TLS: give --host https://..."),
    (b"\x16\x03", "TLS: give --host https://..."),
    (b"PRI * HTTP/2", "HTTP/2 only"),
    (b"HTTP/2", "HTTP/2 only"),
    (b"RTSP/", "RTSP"),
    (b"-ERR ", "Redis or POP3"),
    (b"+OK", "POP3"),
    (b"* OK", "IMAP"),
    (b"220 ", "SMTP or FTP"),
    (b"220-", "SMTP or FTP"),
    (b"RFB ", "VNC"),
    (b"AMQP", "AMQP"),
    (b"\xff\x00\x00\x00\x00\x00\x00\x00", "ZeroMQ"),
    (b"<", "HTML without HTTP"),
)


class Reply(msgspec.Struct, kw_only=True):
    """The head of an answer."""

    status: int
    headers: dict[str, str]  # by lower-case name; of repeated ones, all values with commas
    is_kept: bool  # whether the connection can be used again
    length: int | None  # bytes of the body; None: chunks, or until the connection ends
    is_chunked: bool = False


def parse_head(head: bytes) -> Reply:
    """The head of an answer, without the blank line that ends it.

    Raises:
        WireError: it is none.
    """
    first, *lines = head.split(b"\r\n")
    found = _STATUS.match(first)
    if found is None:
        raise WireError(f"the answer is no HTTP/1.1{_other(first)}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise WireError("a header of the answer has no colon")
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    status, words = int(found[2]), headers.get("connection", "").lower()
    is_kept = "close" not in words if found[1] == b"1" else "keep-alive" in words
    coding = headers.get("transfer-encoding", "").lower()
    if coding not in ("", "identity", "chunked"):
        raise WireError(f"the answer's transfer encoding is {quoted(coding)}")
    if status in NO_BODY or status < 200:
        return Reply(status=status, headers=headers, is_kept=is_kept, length=0)
    if coding == "chunked":
        return Reply(status=status, headers=headers, is_kept=is_kept, length=None, is_chunked=True)
    told = headers.get("content-length")
    if told is None:
        return Reply(status=status, headers=headers, is_kept=False, length=None)
    lengths = {each.strip() for each in told.split(",")}
    if len(lengths) != 1 or _LENGTH.fullmatch(min(lengths)) is None:
        raise WireError(f"the answer's Content-Length is {quoted(told)}")
    return Reply(status=status, headers=headers, is_kept=is_kept, length=int(min(lengths)))


def quoted(value: str) -> str:
    """A header's value for a message: whole or not at all, so that half a secret never stands."""
    return value if len(value) <= MAX_QUOTED else f"of {len(value):,} characters"


def check_start(data: bytes) -> None:
    """Whether a head may begin so; told at once, since its end may never come.

    Raises:
        WireError: It is another protocol's, or its lines do not end as HTTP's do.
    """
    if not START.startswith(data[: len(START)]):
        raise WireError(f"the answer is no HTTP/1.1{_other(data)}")
    end = data.find(b"\n")
    if end >= 0 and data[end - 1 : end] != b"\r":
        raise WireError("the answer's lines end in LF alone, where HTTP/1.1 wants CR LF")


def _other(data: bytes) -> str:
    """What else it is, as far as its first bytes tell."""
    name = next((name for start, name in _OTHERS if data.startswith(start)), None)
    # A frame of HTTP/2 (RFC 9113, 4.1): three bytes of length, type 4 (SETTINGS), flags, stream 0
    if name is None and len(data) >= 9 and data[3] == 4 and data[5:9] == b"\0\0\0\0":
        name = "HTTP/2 only"
    return "" if name is None else f": the server speaks {name}"


class Plug(Protocol):
    """A connected socket, or TLS on one."""

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes; how many came, 0 at the end."""
        ...

    def sendall(self, data: bytes) -> object:
        """Send all of it."""
        ...

    def close(self) -> object:
        """Hang up."""
        ...


class Wire:
    """A connection; asks one request at a time.

    Args:
        plug: the socket.
        pause: lets the event loop go on; called every few reads.
        scratch: what heads are read into. The one that all share is for greenlets of one thread;
            who runs in threads brings its own.
    """

    def __init__(
        self,
        plug: Plug,
        pause: Callable[[], object] = lambda: None,
        scratch: memoryview = _scratch,
    ) -> None:
        self.plug = plug
        self._pause = pause
        self._scratch = scratch
        self._reads = 0
        self.is_reused = False

    def ask(
        self, request: bytes, came: Callable[[], None], most_bytes: float = math.inf
    ) -> tuple[Reply, bytearray]:
        """Send a request; the whole answer.

        Args:
            request: head and body.
            came: called when the first bytes of the answer are here.
            most_bytes: that the answer's body may have.

        Raises:
            OSError: the connection failed.
            HungUp: the peer closed it before the answer was whole.
            WireError: the answer is no HTTP/1.1, or longer than it may be.
        """
        self.plug.sendall(request)
        data = self._some()
        came()
        for _ in range(MAX_INTERIM + 1):
            check_start(data)
            while (end := data.find(END_OF_HEAD)) < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise WireError("the answer's head is too long")
                data += self._some()
                check_start(data)
            reply = parse_head(data[:end])
            data = data[end + len(END_OF_HEAD) :]
            if reply.status >= 200:
                break
            data = data or self._some()  # an interim answer, such as 100
        else:
            raise WireError(f"more than {MAX_INTERIM} interim answers came before the one")
        if reply.is_chunked:
            left = bytearray(data)
            body = self._chunks(left, most_bytes)
            reply.is_kept = reply.is_kept and not left  # what follows belongs to nothing
            return reply, body
        if reply.length is None:
            return reply, self._until_end(data, most_bytes)
        if len(data) > reply.length:
            reply.is_kept = False  # here, too
        _bound(reply.length, most_bytes)
        return reply, self._sized(data, reply.length)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.plug.close()

    def _read(self, buffer: memoryview) -> int:
        """Wait for bytes; how many came. Every few times the event loop goes first."""
        self._reads += 1
        if self._reads % READS_A_TURN == 0:
            self._pause()
        return self.plug.recv_into(buffer)

    def _some(self) -> bytes:
        count = self._read(self._scratch)
        if not count:
            raise HungUp("the server closed the connection before its answer was whole")
        return bytes(self._scratch[:count])

    def _sized(self, data: bytes, length: int) -> bytearray:
        body = bytearray(min(length, max(ROOM_BYTES, len(data))))
        have = min(len(data), length)
        body[:have] = data[:have]
        while have < length:
            if have == len(body):
                body.extend(bytes(min(length - have, have)))
            with memoryview(body) as whole, whole[have:] as rest:
                count = self._read(rest)
            if not count:
                raise HungUp("the server closed the connection before its answer was whole")
            have += count
        return body

    def _until_end(self, data: bytes, most_bytes: float) -> bytearray:
        body = bytearray(data)
        with contextlib.suppress(HungUp):
            while True:
                _bound(len(body), most_bytes)
                body += self._some()
        return body

    def _chunks(self, left: bytearray, most_bytes: float) -> bytearray:
        """The body in chunks; what comes behind it stays in `left`."""
        body = bytearray()
        while size := self._chunk_size(left):
            _bound(len(body) + size, most_bytes)
            while len(left) < size + 2:
                left += self._some()
            if left[size : size + 2] != b"\r\n":
                raise WireError("a chunk of the answer does not end where it should")
            body += left[:size]
            del left[: size + 2]
        trailers = 0
        while line := self._line(left):
            trailers += len(line) + 2
            if trailers > MAX_HEAD_BYTES:
                raise WireError("the answer's trailers are too long")
        return body

    def _chunk_size(self, left: bytearray) -> int:
        found = _SIZE.match(self._line(left))
        if found is None:
            raise WireError("a chunk of the answer has no length")
        return int(found[1], 16)

    def _line(self, left: bytearray) -> bytes:
        while (end := left.find(b"\r\n")) < 0:
            if len(left) > MAX_HEAD_BYTES:
                raise WireError("a line of the answer is too long")
            left += self._some()
        line = bytes(left[:end])
        del left[: end + 2]
        return line


def _bound(length: int, most_bytes: float) -> None:
    """Refuse a body that is longer than it may be.

    Raises:
        WireError: It is.
    """
    if length > most_bytes:
        raise WireError(
            f"the answer's body is longer than the {most_bytes:,.0f} bytes that what was asked for "
            "can take"
        )
