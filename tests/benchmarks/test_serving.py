import asyncio
import json
import subprocess
import sys

import pytest

from benchmarks.player import AnswerError, Connection, closed_loop, open_loop, prepare
from tests.serve.conftest import ROOT, environment
from tests.serve.small_replica import Reader, Writer, replica

REQUEST = prepare("/ask", b"{}", "127.0.0.1")


class FakeTransport(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


def feed(connection: Connection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"12345"],
        [HEAD[:20], HEAD[20:] + b"123", b"45"],
        [HEAD, b"12345"],
        [HEAD[:-2], HEAD[-2:], b"1", b"2", b"345"],
    ],
)
def test_an_answer_ends_with_its_last_byte(pieces: list[bytes]) -> None:
    async def scene() -> None:
        transport, connection = FakeTransport(), Connection()
        connection.connection_made(transport)
        for _ in range(2):  # the connection is kept
            asked = asyncio.create_task(connection.ask(REQUEST))
            await asyncio.sleep(0)
            for piece in pieces:
                assert not asked.done()
                feed(connection, piece)
            await asked
        assert transport.written == REQUEST * 2

    asyncio.run(scene())


@pytest.mark.parametrize(
    "told", [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""]
)
def test_anything_but_a_whole_200_is_an_error(told: bytes) -> None:
    async def scene() -> None:
        connection = Connection()
        connection.connection_made(FakeTransport())
        asked = asyncio.create_task(connection.ask(REQUEST))
        await asyncio.sleep(0)
        if told:
            feed(connection, told)
        else:
            connection.connection_lost(None)
        with pytest.raises(AnswerError):
            await asked

    asyncio.run(scene())


def test_both_loops_play_against_a_server() -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        writer.write(HEAD + b"12345")

    async def scene() -> None:
        async with replica(answer) as port:
            rate = await closed_loop("127.0.0.1", port, REQUEST, concurrency=2, seconds=0.2)
            assert rate > 10
            latencies_s = await open_loop("127.0.0.1", port, REQUEST, [0.0, 0.0, 0.05])
            assert len(latencies_s) == 3
            assert all(0 < latency_s < 5 for latency_s in latencies_s)

    asyncio.run(scene())


@pytest.mark.slow
@pytest.mark.e2e
def test_the_benchmark_prints_one_object() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", "--seconds", "2", "--rate", "50"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["requests_per_s"] > 50
    assert 0 < told["latency_p50_s"] <= told["latency_p99_s"]
    assert told["answer_bytes"] > 100_000
    assert told["ingress"] in ("haproxy", "proxy")


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--rate", "-1"], ["--concurrency", "0"]])
def test_wrong_words_exit_2(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
