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


def test_recorded_numbers_of_rows_are_replayed_and_others_run_as_usual() -> None:
    from serve.acceleration.cpu_traces import Recorded, trace

    seen: list[int] = []

    def denoise(x: Any, t: Any, told: Any) -> Any:
        seen.append(len(x))
        return x * t[:, None] + told[0]

    def example(rows: int) -> Any:
        return torch.rand(rows, 3), torch.rand(rows), (torch.rand(rows, 3),)

    both = Recorded(denoise, {rows: trace(denoise, example(rows)) for rows in (1, 2)})
    assert seen == [1, 2]
    for rows in (1, 2):
        x, t, told = example(rows)
        assert torch.equal(both(x, t, told), x * t[:, None] + told[0])
    assert seen == [1, 2]
    both(*example(3))
    assert seen == [1, 2, 3]
