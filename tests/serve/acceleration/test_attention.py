"""GPU finding 1: attention that plans for a shape runs only where it is recorded. torch inside."""

# mypy: disallow-untyped-calls=False
# Parts of torch.backends are untyped.

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serve.diffusing import Together, quiet, recipe, row, twin

torch = pytest.importorskip("torch")

from tests.serve.late import on_late  # noqa: E402 - it needs torch

pytestmark = quiet


@pytest.fixture
def no_plans() -> Iterator[None]:
    from serve.acceleration.attention import use_no_plans

    before = torch.backends.cuda.cudnn_sdp_enabled()
    use_no_plans()
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


@pytest.mark.usefixtures("no_plans")
def test_what_is_recorded_may_plan_and_all_else_does_not() -> None:
    planned: list[tuple[str, bool]] = []

    def seen(name: str) -> Any:
        def hook(*_: Any) -> None:
            planned.append((name, torch.backends.cuda.cudnn_sdp_enabled()))

        return hook

    pipeline = twin("tiny")
    hooks = [
        getattr(pipeline, name).register_forward_pre_hook(seen(name))
        for name in ("unet", "text_encoder")
    ]
    try:
        with on_late(pipeline):
            together = Together(pipeline, captured=True, buckets=[2])
            together.keep(recipe("tiny"))
            recorded = planned.copy()
            planned.clear()
            other = recipe("tiny", width=96)  # a size that was not warmed up
            together.run([(0, other, row(1, "a text of its own"))])
    finally:
        for hook in hooks:
            hook.remove()
    assert set(recorded) == {("text_encoder", False), ("unet", True)}
    assert set(planned) == {("text_encoder", False), ("unet", False)}


@pytest.mark.usefixtures("no_plans")
def test_planning_ends_with_what_is_recorded_even_if_that_fails() -> None:
    from serve.acceleration.attention import plans

    with plans():
        assert torch.backends.cuda.cudnn_sdp_enabled()
    with pytest.raises(ZeroDivisionError), plans():
        raise ZeroDivisionError
    assert not torch.backends.cuda.cudnn_sdp_enabled()
