"""The crowd's reader, whatever a server sends: documented errors alone, bounds, one record."""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_answers import PACKERS, SIDE, good, message, nth, nth_list
from benchmarks.fuzz_bodies import mutate
from benchmarks.fuzz_case import chunked
from benchmarks.fuzz_reader import TIMEOUT_S, Reading, listing, measure
from loadtest.client import server_claims
from loadtest.client.connection import Wire, WireError, parse_head
from loadtest.client.content_coding import CodingError, unpack
from loadtest.client.model_choice import choose
from loadtest.client.response import check
from loadtest.client.server_errors import MAX_CHARS, error_in, error_message, where_to
from loadtest.errors import TargetError
from loadtest.generator.person import retry_after
from tests.loadtest.client.test_connection import Script, cut

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
CHANCE = st.randoms(use_true_random=False)
NUMBER = st.integers(0, 2**40)
MOST = 50_000  # bytes of a body
SLACK_S = 5.0  # of a machine that others share
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
quick = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    reading = Reading(tmp_path_factory.mktemp("records"))
    yield reading
    reading.close()


@quick
@given(NUMBER)
def test_any_answer_is_read_in_time_and_recorded(reading: Reading, number: int) -> None:
    before = reading.recorded
    assert reading.read(number, nth(0, number)) < TIMEOUT_S + SLACK_S
    assert reading.recorded == before + 1


def test_every_request_has_one_record(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    for number in range(50):
        reading.read(number, nth(1, number))
    assert [seq for seq, _ in reading.close()] == list(range(50))


def given_or_raised(call: Callable[[], T], documented: type[E]) -> T | E:
    """What a call gives, or the error that it may raise."""
    try:
        return call()
    except documented as err:
        return err


@settings(max_examples=50)
@given(NUMBER)
def test_any_list_of_models_is_chosen_from_or_refused_in_words(number: int) -> None:
    with listing() as ask:
        found = given_or_raised(lambda: ask(nth_list(0, number)), TargetError)
    assert found is None or str(found).isprintable()


@quick
@given(CHANCE, st.integers(1, 200), st.sampled_from(["sized", "chunked", "until the end"]))
def test_a_body_keeps_its_bound(chance: Random, step: int, form: str) -> None:
    body = good(chance)
    heads = {
        "sized": message(200, [], body),
        "chunked": b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, body),
        "until the end": b"HTTP/1.1 200 x\r\n\r\n" + body,
    }
    wire = Wire(Script(*cut(mutate(heads[form], chance), step)))
    found = given_or_raised(lambda: wire.ask(b"?", lambda: None, MOST), WireError)
    assert isinstance(found, WireError) or len(found[1]) <= MOST


@quick
@given(st.binary(max_size=300) | st.builds(mutate, st.just(message(200, [], b"")[:-4]), CHANCE))
def test_a_head_is_one_or_is_refused(head: bytes) -> None:
    found = given_or_raised(lambda: parse_head(head), WireError)
    if not isinstance(found, WireError):
        assert 100 <= found.status < 600
        assert found.length is None or 0 <= found.length < 10**18


@quick
@given(CHANCE, st.sampled_from(PACKERS), st.integers(0, 3000))
def test_what_unpacks_keeps_its_bound(
    chance: Random, packer: tuple[bytes, Callable[[bytes], bytes]], most: int
) -> None:
    data = mutate(packer[1](good(chance) * 3), chance)
    found = given_or_raised(lambda: unpack(data, packer[0].decode(), most), CodingError)
    assert isinstance(found, CodingError) or len(found) <= most or not data


@quick
@given(
    st.binary(max_size=300)
    | st.builds(mutate, CHANCE.map(good), CHANCE)
    | JSON.map(msgspec.json.encode)
)
def test_any_body_is_checked_and_its_words_are_printable(body: bytes) -> None:
    for decode in (True, False):
        fault = check(body, 1, SIDE, SIDE, decode=decode).fault
        assert fault is None or fault
    for words in (error_message(body), error_in(body)):
        assert words is None or (words.isprintable() and 0 < len(words) <= MAX_CHARS)


@quick
@given(st.text() | st.from_regex(r"//[\w:@\[\]]*/?.*"))
def test_a_redirect_leads_somewhere_printable(location: str) -> None:
    assert where_to(location, "http://x:1/v1").isprintable()


@quick
@given(
    st.text()
    | st.lists(
        st.tuples(st.sampled_from([*server_claims.STAGES, "x"]), st.floats() | st.text())
    ).map(lambda found: ", ".join(f"{name};dur={value}" for name, value in found)),
    st.none() | st.floats(0, 100),
)
def test_stages_that_are_told_can_be(header: str, took_s: float | None) -> None:
    found = server_claims.stages(header, took_s)
    known = [found[name] for name in server_claims.STAGES if name in found]
    assert all(0 <= seconds < math.inf for seconds in known)
    assert took_s is None or sum(known) <= took_s + server_claims.CLOCKS_S


DATES = [b"Wed, 21 Oct 2015 07:28:00 GMT", b"21 Oct 15 07:28 -9999", b"1 Jan 99999 1:2:3 EST", b"7"]


@quick
@given(
    st.builds(mutate, st.sampled_from(DATES), CHANCE).map(lambda header: header.decode("latin-1"))
)
def test_a_wait_that_is_told_is_one_or_none(header: str) -> None:
    seconds = retry_after(header, 0.0)
    assert seconds is None or 0 <= seconds < math.inf


@quick
@given(JSON)
def test_whatever_is_told_of_a_device_is_within_bounds_or_unknown(value: object) -> None:
    named = dict.fromkeys(("threads", "matmul_flop_per_s", "device_name", "measured_s"), value)
    limits = server_claims.device_limits(named)
    if limits is not None:
        assert limits.device_name is None or limits.device_name.isprintable()
        assert limits.threads is None or 1 <= limits.threads <= server_claims.MAX_THREADS
    for one in server_claims.approximations({"fp8": {"relative_error": value}, "shortcuts": named}):
        assert one.relative_error is None or 0 <= one.relative_error <= server_claims.MAX_ERROR


@quick
@given(
    st.dictionaries(
        st.text(max_size=9), st.dictionaries(st.sampled_from(["type", "mode"]), PLAIN), max_size=4
    ),
    st.none() | st.text(),
)
def test_a_model_is_chosen_or_refused_in_words(
    offered: dict[str, dict[str, object]], asked: str | None
) -> None:
    found = given_or_raised(lambda: choose(offered, asked, "x"), TargetError)
    if isinstance(found, TargetError):
        assert str(found).isprintable()
    else:
        assert found[0] in {*offered, asked, None}
        assert found[1] is None or found[1].isprintable()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_very_many_answers_are_read_within_bounds(seed: int) -> None:
    found = measure(10_000, seed)
    assert (found["exceptions"], found["list_exceptions"], found["missing_records"]) == ({}, {}, 0)
    assert max(found["worst_s"], found["list_worst_s"]) < TIMEOUT_S + SLACK_S
    assert found["rss_after_mib"] < found["rss_before_mib"] + 100


def test_the_draw_is_the_same_again() -> None:
    draw = functools.partial(nth, 7)
    assert [draw(number) for number in range(100)] == [draw(number) for number in range(100)]
