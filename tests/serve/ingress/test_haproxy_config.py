import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.ingress.haproxy_config import Settled, assign, configure, connections_for


@pytest.mark.parametrize(
    ("places", "ports", "then"),
    [
        ([None, None], [], [None, None]),
        ([None, None, None], [30001, 30000], [30000, 30001, None]),
        ([30000, 30001, None], [30001], [None, 30001, None]),
        ([None, 30001, None], [30001, 30002], [30002, 30001, None]),
        ([30000], [30001, 30002], [30001]),
    ],
)
def test_replicas_keep_their_places(
    places: list[int | None], ports: list[int], then: list[int | None]
) -> None:
    assert assign(places, ports) == then


@given(
    st.lists(st.sets(st.integers(1, 12), max_size=8), min_size=1),
)
def test_every_replica_has_one_place_and_never_moves(told: list[set[int]]) -> None:
    places: list[int | None] = [None] * 8
    for ports in told:
        before = places
        places = assign(places, ports)
        assert {port for port in places if port is not None} == ports
        assert sum(port is not None for port in places) == len(ports)
        for old, new in zip(before, places, strict=True):
            assert new == old or old not in ports


def test_health_wants_every_replica() -> None:
    told = configure(
        address="127.0.0.1:1",
        replicas=2,
        threads=1,
        control=3,
        connections=100,
        body_limit=1000,
    )
    rules = [line.strip() for line in told.splitlines() if "path /health" in line]
    assert [rule.partition(" content")[0][-3:] for rule in rules] == ["503", "503", "200"]
    assert [rule.partition("nbsrv(replicas) ")[2] for rule in rules] == [
        "eq 0 }",
        "eq 1 }",
        "ge 2 }",
    ]


@pytest.mark.parametrize(
    ("waiting", "open_files", "most"),
    [
        (72, 1_048_576, 8192 + 144),  # whoever may wait, with one to spare, and 8,192 more
        (100_000, 20_000, 9872),  # two files a client
        (72, 256, 64),
    ],
)
def test_connections_are_bounded_by_what_may_wait_and_by_open_files(
    waiting: int, open_files: int, most: int
) -> None:
    assert connections_for(waiting, open_files) == most


@pytest.mark.parametrize(
    ("told", "routed"),
    [
        ([(0.0, {1, 2}), (0.5, {1, 2})], {1, 2}),
        ([(0.0, {1, 2}), (0.5, set())], {1, 2}),  # a controller that has just come back ...
        ([(0.0, {1, 2}), (0.5, set()), (1.0, {2}), (1.5, {1, 2})], {1, 2}),  # ... and learns
        ([(0.0, {1, 2}), (0.5, {2, 3})], {1, 2, 3}),  # the first may serve still
        ([(0.0, {1, 2}), (0.5, {2, 3}), (5.1, {2, 3})], {2, 3}),
        ([(0.0, {1}), (6.0, set())], set()),
        ([(0.0, set())], set()),
    ],
)
def test_an_empty_answer_of_the_controllers_is_not_believed_at_once(
    told: list[tuple[float, set[int]]], routed: set[int]
) -> None:
    """F26: 37 requests of 1,290 got 503 while both replicas were well."""
    settled = Settled(patience_s=5.0)
    answers = [settled.after(ports, now_s) for now_s, ports in told]
    assert answers[-1] == routed
