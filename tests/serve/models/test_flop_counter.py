"""Counting FLOPs: what torch's own counter says, without its hooks, giving way all along."""

from typing import Any

import pytest

from tests.serve.diffusing import TWINS, quiet, twin

torch = pytest.importorskip("torch")
pytestmark = quiet


def blank(module: Any) -> Any:
    from serve.models.flops import _blank

    return _blank(module)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many modules of this process were hooked, each time that it gave way."""
    hooks = torch.nn.modules.module
    seen: list[int] = []
    monkeypatch.setattr(
        "serve.models.flop_counter.give_way",
        lambda: seen.append(len(hooks._global_forward_pre_hooks)),
    )
    return seen


def test_products_and_sums(ways: list[int]) -> None:
    from serve.models.flop_counter import FlopCounter

    with torch.device("meta"), FlopCounter() as counter:
        x = torch.empty(3, 5) @ torch.empty(5, 7)
        torch.nn.functional.conv2d(torch.empty(1, 2, 8, 8), torch.empty(4, 2, 3, 3), padding=1)
        x.relu().sum()
    # 2 a multiply-add: 3·7·5, and 8·8 places of 4 channels from 2·3·3 values
    assert counter.flop == 2 * 3 * 7 * 5 + 2 * 8 * 8 * 4 * 18
    assert len(ways) >= 8  # four empties, product, convolution, relu, sum
    assert set(ways) == {0}


@pytest.mark.parametrize("model", TWINS)
def test_it_counts_as_torch_does(model: str, ways: list[int]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from serve.models.flop_counter import FlopCounter

    meta = torch.device("meta")
    vae = blank(twin(model).vae)
    latents = torch.empty(1, vae.config.latent_channels, 8, 12, device=meta)
    with torch.no_grad(), meta, FlopCounter() as counter:
        vae.decode(latents)
    with torch.no_grad(), meta, FlopCounterMode(display=False) as known:
        vae.decode(latents)
    assert counter.flop == known.get_total_flops() > 0


def test_a_count_gives_way_at_every_operation_and_hooks_no_module(ways: list[int]) -> None:
    """F12: the interpreter is taken from a serving thread for an operation, never for a second."""
    from serve.models.flops import count

    with torch.no_grad():
        count(twin("tiny"), 64, 64)
    assert len(ways) > 1000  # a few hundred layers made, and called
    assert set(ways) == {0}
