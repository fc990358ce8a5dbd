"""A hostile request: the bytes that are sent, and what is due to them. Pure.

answer      valid HTTP/1.1: every request in it is answered, errors in OpenAI's form
end         no valid HTTP, or nothing more comes: an answer, or the connection's end
nothing     whatever is read into it: what comes is judged, and nothing has to come
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

Due: TypeAlias = Literal["answer", "end", "nothing"]

GENERATIONS = "/v1/images/generations"
CODE = "latin-1"  # a letter a byte, so that a corpus can be read


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request, or what is sent in place of one.

    Attributes:
        kind: Which hostility it is.
        sends: Pieces as they are written, a letter a byte.
        due: See above.
        answers: How many may come at most, and under `answer` must; None: not known.
        statuses: That these have, one after another; empty: not known.
        pause_s: Between two pieces.
        hold_s: Before anything is read.
        is_slow: Takes long by its nature.
        note: Why it is kept.
    """

    kind: str
    sends: tuple[str, ...]
    due: Due = "answer"
    answers: int | None = 1
    statuses: tuple[int, ...] = ()
    pause_s: float = 0.0
    hold_s: float = 0.0
    is_slow: bool = False
    note: str = ""

    @property
    def pieces(self) -> list[bytes]:
        """What is written."""
        return [piece.encode(CODE) for piece in self.sends]

    @property
    def is_head(self) -> bool:
        """Whether its first request is a HEAD, whose answer has no body."""
        return self.sends[:1] != () and self.sends[0].startswith("HEAD ")


def case(kind: str, *pieces: bytes, due: Due = "answer", answers: int | None = 1) -> Case:
    """A case of these pieces."""
    return Case(
        kind=kind, sends=tuple(piece.decode(CODE) for piece in pieces), due=due, answers=answers
    )


def request(
    method: str = "POST", path: str = GENERATIONS, headers: bytes = b"", body: bytes | None = None
) -> bytes:
    """The bytes of a request, valid if its parts are; its length is told if it has a body.

    Args:
        method: As it is written.
        path: As it is written, in latin-1.
        headers: Whole lines, beside Host and Content-Length.
        body: None: none.
    """
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    line = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode(CODE)
    return line + headers + length + b"\r\n" + (body or b"")


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, the last one included."""
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"


def read_corpus(path: Path) -> list[Case]:
    """The cases of a corpus: a JSON object a line.

    Raises:
        msgspec.DecodeError: A line is no case.
    """
    decoder = msgspec.json.Decoder(Case)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]


def write_corpus(path: Path, cases: Iterable[Case]) -> None:
    """Write a corpus, in ASCII."""
    lines = [json.dumps(msgspec.to_builtins(each)) for each in cases]
    path.write_text("".join(f"{line}\n" for line in lines))
