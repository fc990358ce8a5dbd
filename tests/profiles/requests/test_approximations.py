import pytest

from profiles.requests.approximations import sentences
from profiles.schema import Approximation, TargetInfo
from tests.profiles.synthetic import manifest


def target(weights: str, *approximations: Approximation) -> TargetInfo:
    return TargetInfo(
        url="http://127.0.0.1:8000",
        embedded=True,
        settings={"weights": weights},
        approximations=list(approximations),
    )


CACHED = Approximation(name="cache_steps=2", of="final latent", relative_error=0.0873)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (target("random"), []),
        (
            target("/models/sdxl", CACHED),
            [
                (
                    "The images are approximations (cache_steps=2): measured at the server's start "
                    "they change the final latent by 8.7% (‖x - x'‖ / ‖x'‖)."
                )
            ],
        ),
        (
            target("random", CACHED),
            [
                (
                    "The images are approximations (cache_steps=2): measured at the server's start "
                    "they change the final latent by 8.7% (‖x - x'‖ / ‖x'‖), with random weights, "
                    "which says nothing about the images of trained ones."
                )
            ],
        ),
        (
            target("/models/sdxl", Approximation(name="fp8", of="denoiser's output")),
            ["The images are approximations (fp8): the server told no error."],
        ),
    ],
)
def test_an_approximation_is_told_with_its_error(about: TargetInfo, expected: list[str]) -> None:
    assert sentences(manifest(None, target=about)) == expected
