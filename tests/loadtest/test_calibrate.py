import pytest

from loadtest.calibrate import calibrate, rate
from loadtest.errors import ViralloadError
from loadtest.job import Job
from tests.loadtest.conftest import StartServer


def test_batches_are_counted_from_the_end_of_the_first() -> None:
    # four images at 1.0, 2.0, 3.0, 4.0 s each: 12 images in the 3 s after the first batch
    times = [t + k * 0.001 for t in (1.0, 2.0, 3.0, 4.0) for k in range(4)]
    assert rate(times, 0.5, in_flight=8).images_per_s == pytest.approx(4.0)
    # the warm-up is cut: 8 images in 2 s
    cut = rate(times, 1.5, in_flight=8)
    assert cut.images == 8
    assert cut.images_per_s == pytest.approx(4.0)


def test_even_completions_are_counted_between_the_first_and_the_last() -> None:
    assert rate([0.0, 0.5, 1.0, 1.5], -1.0, in_flight=1).images_per_s == pytest.approx(2.0)


def test_too_few_completions_are_refused() -> None:
    with pytest.raises(ViralloadError, match="Give --capacity"):
        rate([1.0], 0.0, in_flight=1)


def job(url: str) -> Job:
    return Job(
        run_dir="", clock_zero_monotonic_s=0.0, base_url=url, model="other-model", width=16,
        height=16, prompts=["x"], timeout_s=5.0, drain_s=5.0,
    )  # fmt: skip


@pytest.mark.e2e
def test_a_server_of_known_capacity_is_measured(image_server: StartServer) -> None:
    # four at once, 0.1 s each: 40 images/s, less what the client and the server cost
    measured = calibrate(job(image_server(delay_s=0.1)), None, in_flight=4)
    assert 30 < measured.images_per_s < 40.5


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("options", "said"),
    [({"fault": "500"}, "HTTP 500: melted"), ({"fault": "few"}, "0 images came back")],
)
def test_a_failing_server_is_said_not_measured(
    image_server: StartServer, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ViralloadError, match=said):
        calibrate(job(image_server(**options)), None, in_flight=2)
