import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.admission import RETRY_AFTER_MAX_S, ServiceRate, admit


@pytest.mark.parametrize(
    ("images", "waiting", "max_queue", "rate", "retry_after_s"),
    [
        (1, 0, 4, None, None),
        (1, 3, 4, None, None),  # exactly full
        (1, 4, 4, None, 1),  # no rate known yet
        (1, 4, 4, 10.0, 1),  # 1/10 s, rounded up
        (3, 4, 4, 0.5, 6),  # 3 images at 0.5/s
        (2, 3, 4, 2.0, 1),  # 1 image too many at 2/s
        (10, 0, 4, 1.0, None),  # an empty queue takes any request
        (1, 4, 4, 1e-9, RETRY_AFTER_MAX_S),
    ],
)
def test_admit(
    images: int, waiting: int, max_queue: int, rate: float | None, retry_after_s: int | None
) -> None:
    refusal = admit(images, waiting=waiting, max_queue=max_queue, images_per_s=rate)
    assert (refusal and refusal.retry_after_s) == retry_after_s


@given(
    images=st.integers(1, 10),
    waiting=st.integers(0, 1000),
    max_queue=st.integers(1, 1000),
    rate=st.none() | st.floats(1e-6, 1e6),
)
def test_the_bound_holds_and_the_delay_is_a_whole_second_or_more(
    images: int, waiting: int, max_queue: int, rate: float | None
) -> None:
    refusal = admit(images, waiting=waiting, max_queue=max_queue, images_per_s=rate)
    if refusal is None:
        assert waiting == 0 or waiting + images <= max_queue
    else:
        assert waiting + images > max_queue
        assert 1 <= refusal.retry_after_s <= RETRY_AFTER_MAX_S


def test_rate_starts_at_the_first_batch_and_follows_the_later_ones() -> None:
    rate = ServiceRate()
    seen = [rate.images_per_s]
    for seconds in (2.0, 1.0):
        rate.observe(8, seconds)
        seen.append(rate.images_per_s)
    assert seen == [None, 4.0, pytest.approx(4.8)]  # 0.8 * 4 + 0.2 * 8
