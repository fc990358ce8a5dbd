"""Real denoisers compiled by regions: few graphs, the same latents, FP8 and fused blocks within.

The backend is eager or aot_eager: what is compiled and when is tested here, not inductor's kernels.
"""

import copy
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.acceleration.compilation import REGIONS, compilations, compile_regions, recompiles
from serve.acceleration.cuda_graphs import default_buckets
from serve.acceleration.fp8 import quantize, relative_error
from serve.acceleration.fp8_layers import Fp8Linear
from serve.acceleration.fused.fusion import fuse
from serve.diffusion.stepper import Stepper
from serve.models.networks import network_of
from tests.serve.acceleration.test_fp8 import FREE, MATMUL, closure, unet
from tests.serve.diffusing import EXACT, Together, error, quiet, recipe, row, stock, twin

pytestmark = quiet


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets torch.compile's backend."""
    real: Callable[..., Any] = torch.compile

    def use(name: str) -> None:
        def compile_with(module: Any, *, mode: str, **options: Any) -> Any:
            return real(module, backend=name, **options)

        compile_with.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
        monkeypatch.setattr(torch, "compile", compile_with)

    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "elsewhere")
    torch._dynamo.reset()
    yield use
    torch._dynamo.reset()


def shapes(denoiser: Any, run: Callable[[], Any]) -> set[Any]:
    """The distinct shapes of a denoiser's regions: kind, parameters, inputs."""
    found = set()

    def note(module: Any, inputs: Any, told: Any) -> None:
        given = [*inputs, *told.values()]
        met = tuple(tuple(x.shape) for x in given if isinstance(x, torch.Tensor))
        found.add((type(module), tuple(p.shape for p in module.parameters()), met))

    hooks = [
        each.register_forward_pre_hook(note, with_kwargs=True)
        for each in denoiser.modules()
        if type(each).__name__ in REGIONS
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("model", "fused", "regions"),
    [("tiny", False, 12), ("tiny-sdxl", True, 8), ("tiny-sd35", False, 2), ("tiny-flux", False, 2)],
)
def test_warmed_sizes_run_a_graph_a_shape_and_bucket_and_others_none(
    model: str, fused: bool, regions: int, backend: Callable[[str], None], tmp_path: Path
) -> None:
    backend("eager")
    pipeline = copy.deepcopy(twin(model))
    if fused:
        fuse(pipeline.unet)
    network = network_of(pipeline)
    fast = compile_regions(network.denoiser, cache_folder=tmp_path)
    assert sum(hasattr(each, "_orig_mod") for each in fast.modules()) == regions
    together = Together(pipeline, slots=1)
    how = recipe(model, steps=2, guidance_scale=3.0)
    distinct = shapes(network.denoiser, lambda: together.run([(0, how, row())]))
    together.stepper = Stepper(network, slots=1, captured=False, compiled=fast)
    before = compilations()
    together.keep(recipe(model))
    assert recompiles(before) == len(distinct) * len(default_buckets(2))
    warm = compilations()
    for size in ({}, {"width": 96}):  # the second was not warmed up
        (latent,) = together.run([(0, recipe(model, **size), row())]).values()
        assert error(latent, stock(twin(model), recipe(model, **size), row())) <= EXACT
    assert recompiles(warm) == 0


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("fused", [False, True])
def test_quantized_blocks_compile_whole(
    fused: bool, backend: Callable[[str], None], tmp_path: Path
) -> None:
    """Each region is one graph, or would raise; in it the quantization meets the norm before."""
    backend("aot_eager")
    module = unet()
    quantize(module, gpu=FREE, matmul=MATMUL)
    expected = closure(module)()
    if fused:
        assert fuse(module).blocks == 4
    compiled = compile_regions(module, cache_folder=tmp_path)
    before = compilations()
    made = closure(compiled)()
    assert recompiles(before) > 0
    held = [each for each in compiled.modules() if hasattr(each, "_orig_mod")]
    assert any(isinstance(layer, Fp8Linear) for each in held for layer in each.modules())
    # bf16's own roundings, of which a fused block has fewer.
    assert relative_error(expected, made) < 0.05
