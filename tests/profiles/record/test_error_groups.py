from collections import Counter

import pytest

from profiles.record.error_groups import OTHER_ERRORS, ErrorGroups, cause, most_frequent


@pytest.mark.parametrize(
    ("text", "same", "group"),
    [  # two texts of one cause
        (
            "HTTP 500: upstream failed (request id: 202611301400000007)",
            "HTTP 500: upstream failed (request id: 202611301400000008)",
            "HTTP 500: upstream failed (request id: …)",
        ),
        (
            "HTTP 429: 64 images are waiting already; done in 3.1 s",
            "HTTP 429: 61 images are waiting already; done in 12 s",
            "HTTP 429: … images are waiting already; done in … s",
        ),
        (
            "HTTP 502: req_011CQx failed on 10.0.0.3:8000",
            "HTTP 502: req_7YzA failed on 10.0.0.4:8000",
            "HTTP 502: … failed on …",
        ),
        (
            "HTTP 400: trace 9f8b2a60-1c4e-4d21-9a0e-77aa12cd0e11",
            "HTTP 400: trace 1f8b2a60-1c4e-4d21-9a0e-77aa12cd0e12",
            "HTTP 400: trace …",
        ),
        (
            "HTTP 500: task qwertyuiopasdfghjklzxcv died",  # an id of letters alone
            "HTTP 500: task mnbvcxzlkjhgfdsapoiuytr died",
            "HTTP 500: task … died",
        ),
        ("an image is 8x8, not 16x16", "an image is 9x9, not 16x16", "an image is …, not …"),
        ("HTTP 503", "HTTP 503", "HTTP 503"),
    ],
)
def test_what_one_cause_says(text: str, same: str, group: str) -> None:
    assert cause(text) == cause(same) == group


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("HTTP 500: upstream failed", "HTTP 502: upstream failed"),  # the status tells them apart
        ("HTTP 500", "HTTP 503"),
        ("HTTP 500: queue is full", "HTTP 500: queue is empty"),
        ("this machine: [Errno 24] Too many open files", "[Errno 24] Too many open files"),
    ],
)
def test_different_causes_stay_apart(text: str, other: str) -> None:
    assert cause(text) != cause(other)


def test_a_group_of_one_text_keeps_its_numbers() -> None:
    groups = ErrorGroups(most=100)
    for seq in range(13):
        groups.add(f"HTTP 500: upstream failed (request id: {seq:018})")
        groups.add("HTTP 400: size must be at most 1024")
    assert groups.counts() == {
        "HTTP 500: upstream failed (request id: …)": 13,
        "HTTP 400: size must be at most 1024": 13,
    }


def test_the_groups_have_a_bound_and_nothing_is_lost() -> None:
    groups = ErrorGroups(most=2)
    for text in ["a", "b", "c", "a", "d"]:
        groups.add(text)
    assert groups.counts() == {"a": 2, "b": 1, OTHER_ERRORS: 2}


def test_what_is_cut_from_a_table_is_said() -> None:
    errors = Counter({"a": 5, "b": 3, "c": 2, "d": 1})
    assert most_frequent(errors, 4) == {"a": 5, "b": 3, "c": 2, "d": 1}
    assert most_frequent(errors, 3) == {"a": 5, "b": 3, "c": 2, "(and 1 more kind of error)": 1}
    assert most_frequent(errors, 1) == {"a": 5, "(and 3 more kinds of error)": 6}
