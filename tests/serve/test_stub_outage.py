"""The stub's outage: nothing advances in it, and what had begun goes on after it."""

import pytest

from serve.settings import Settings, SettingsError, from_json
from serve.stub.model import StubModel, outage_within


@pytest.mark.parametrize(
    ("start_s", "seconds", "held_s"),
    [
        # an outage from 20 s to 28 s
        (0.0, 1.0, 0.0),  # long before
        (19.0, 1.0, 0.0),  # done as it begins
        (19.5, 1.0, 8.0),  # half done: all of the outage comes between
        (20.0, 1.0, 8.0),
        (25.0, 1.0, 3.0),  # begins after it
        (28.0, 1.0, 0.0),
        (99.0, 1.0, 0.0),
    ],
)
def test_work_waits_for_the_end_of_the_outage(
    start_s: float, seconds: float, held_s: float
) -> None:
    assert outage_within(start_s, seconds, 20.0, 8.0) == held_s


def test_an_image_alone_takes_its_steps_and_what_is_fixed() -> None:
    assert StubModel(fixed_s=0.5, step_s=0.1, image_bytes=0).image_s(20) == pytest.approx(2.5)


def test_an_outage_is_read() -> None:
    assert Settings(model="stub", stub_outage="20s+7.5s").outage_s == (20.0, 7.5)
    assert Settings(model="stub").outage_s is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"model": "stub", "stub_outage": "20+8"}', "write BEGINs+LENGTHs, as 20s+8s"),
        ('{"model": "tiny", "stub_outage": "20s+8s"}', "only the stub has one"),
    ],
)
def test_an_outage_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told.replace("+", r"\+")):
        from_json(text)
