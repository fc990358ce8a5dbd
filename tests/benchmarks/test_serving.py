import asyncio
import itertools
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.player import AnswerError, Connection, closed_loop, open_loop, prepare
from benchmarks.serving import arrivals, percentile
from tests.serve.conftest import ROOT, environment
from tests.serve.small_replica import Reader, Writer, replica

REQUEST = prepare("/ask", b"{}", "127.0.0.1")


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 50, 3.0),
        ([1.0, 2.0], 50, 1.0),  # rank ceil(2 * 0.5) = 1
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 51, 3.0),  # rank ceil(2.04) = 3
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 102)], 99, 100.0),  # rank ceil(99.99) = 100
        ([1.0, 2.0], 100, 2.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_percentiles_are_nearest_ranks(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 100))
def test_a_percentile_has_so_many_below_it(values: list[float], percent: int) -> None:
    told = percentile(values, percent)
    assert told in values
    assert sum(value <= told for value in values) * 100 >= percent * len(values)
    assert sum(value < told for value in values) * 100 < percent * len(values)


@given(st.floats(0.5, 200), st.floats(0.1, 20), st.integers(0, 9))
def test_arrivals_are_sorted_seeded_and_in_time(rate: float, seconds: float, seed: int) -> None:
    times_s = arrivals(rate, seconds, seed)
    assert times_s == sorted(times_s) == arrivals(rate, seconds, seed)
    assert all(0 < due_s < seconds for due_s in times_s)


def test_arrivals_are_poisson() -> None:
    """10,000 expected, standard deviation 100; gaps with a coefficient of variation of 1."""
    times_s = arrivals(100, 100, 1)
    assert abs(len(times_s) - 10_000) < 400
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    mean_s = sum(gaps_s) / len(gaps_s)
    variance = sum((gap - mean_s) ** 2 for gap in gaps_s) / len(gaps_s)
    assert 0.95 < variance / mean_s**2 < 1.05


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
