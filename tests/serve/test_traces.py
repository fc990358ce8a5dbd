"""The denoiser recorded for a CPU. torch is imported inside: it takes seconds."""

from typing import Any

import pytest

from tests.serve.diffusing import TWINS, Arrival, Together, error, quiet, recipe, row, twin

torch = pytest.importorskip("torch")

pytestmark = quiet


def crowd(model: str) -> list[Arrival]:
    """Guided and unguided images that join one after the other: 1 to 6 rows, odd ones too."""
    return [
        (i, recipe(model, steps=3 + i % 2, guidance_scale=scale), row(i))
        for i, scale in enumerate((4.5, 1.0, 3.0, 1.0))
    ]


@pytest.mark.parametrize("model", TWINS)
def test_replayed_steps_equal_plain_ones(model: str) -> None:
    plain = Together(twin(model)).run(crowd(model))
    together = Together(twin(model))
    together.stepper._traced = True
    how = recipe(model)
    (example,) = together.preparation.prepare([(how, row(0))])
    together.stepper.keep(how.size, example.state)  # type: ignore[union-attr]
    replayed = together.run(crowd(model))
    assert all(error(replayed[i], latent) <= 1e-5 for i, latent in plain.items())


@torch.inference_mode()
def test_recorded_numbers_of_rows_are_replayed_and_others_run_as_usual() -> None:
    from serve.traces import TracedDenoise

    seen: list[int] = []

    def denoise(x: Any, t: Any, told: Any) -> Any:
        seen.append(len(x))
        return x * t[:, None] + told[0]

    def example(rows: int) -> Any:
        return torch.zeros(rows, 3), torch.zeros(rows), (torch.zeros(rows, 3),)

    traced = TracedDenoise(denoise, [1, 2], example)
    recorded = len(seen)
    for rows in (1, 2):
        x, t, told = torch.rand(rows, 3), torch.rand(rows), torch.rand(rows, 3)
        assert torch.equal(traced(x, t, (told,)), x * t[:, None] + told)
    assert len(seen) == recorded
    assert torch.equal(traced(*example(3)), torch.zeros(3, 3))
    assert seen[recorded:] == [3]
