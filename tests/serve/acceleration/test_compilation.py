"""Compiled once, found again by the next process, and never compiled while serving."""

import inspect
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from serve.acceleration.compilation import (
    GRAPHS_MAX,
    CompilationError,
    RecompileError,
    compilations,
    compile_regions,
    forbid_recompiles,
    recompiles,
    use_cache,
)
from tests.serve.conftest import ROOT

# Two residual blocks of one shape, in place of a denoiser that would take a minute to compile.
PROCESS = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from serve.acceleration.compilation import cache_use, compilations, compile_regions
from serve.acceleration.compilation import forbid_recompiles, recompiles

class BasicTransformerBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return x + nn.functional.gelu(self.linear(self.norm(x)))

torch.manual_seed(0)
model = nn.Sequential(BasicTransformerBlock(), nn.Linear(8, 8), BasicTransformerBlock()).eval()
compiled = compile_regions(model, cache_folder=Path(sys.argv[1]))
with torch.inference_mode():
    x = torch.randn(2, 8)
    first = compiled(x)
    since = compilations()
    with forbid_recompiles():
        compiled(x)
    off = float((first - model(x)).abs().max())
use = cache_use()
print(json.dumps([use.hits, use.misses, since, recompiles(since), off]))
"""


def run(folder: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROCESS, str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: list[float] = json.loads(done.stdout)
    return answer


def test_a_second_process_compiles_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for-it"
    *first, off = run(folder)
    assert first == [0, 1, 1, 0]  # hits, misses, graphs, recompiles
    assert off < 1e-5
    assert folder.stat().st_mode & 0o777 == 0o700
    *second, off = run(folder)
    assert second == [1, 0, 1, 0]
    assert off < 1e-5


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own, in an environment that it cannot leave changed."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "elsewhere")
    torch._dynamo.reset()
    yield tmp_path / "cache"
    torch._dynamo.reset()


class BasicTransformerBlock(nn.Module):
    """Goes by the name of a block that repeats."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(x))


def model(*widths: int) -> nn.Module:
    """Blocks of these widths, each after a layer that no region holds."""
    layers = [
        [nn.Linear(before, width), BasicTransformerBlock(width)]
        for before, width in itertools.pairwise((4, *widths))
    ]
    return nn.Sequential(*itertools.chain(*layers)).eval()


@pytest.fixture
def eager_backend(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.compile with the eager backend, since guards and not kernels are tested with it."""
    real: Callable[..., Any] = torch.compile

    def eager(module: nn.Module, *, mode: str, **options: Any) -> Any:
        return real(module, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", eager)
    # The signature tells how this torch takes the limit.
    eager.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
    return cache_folder


@pytest.fixture
def compiled(eager_backend: Path) -> nn.Module:
    """A model of one compiled block, and nothing before it."""
    return compile_regions(
        nn.Sequential(BasicTransformerBlock(4)).eval(), cache_folder=eager_backend
    )


@torch.inference_mode()
def call(module: nn.Module, samples: int) -> torch.Tensor:
    result: torch.Tensor = module(torch.ones(samples, 4))
    return result


def test_warmed_sizes_run_and_another_raises(compiled: nn.Module) -> None:
    before = compilations()
    for samples in (1, 2):
        call(compiled, samples)
    assert recompiles(before) == 2  # one graph a size: dynamic shapes would have made it one
    warm = compilations()
    with forbid_recompiles():
        for samples in (1, 2, 1):
            assert call(compiled, samples).shape == (samples, 4)
    with (
        pytest.raises(RecompileError, match=r"(?s)warm up every batch and size.*expected"),
        forbid_recompiles(),
    ):
        call(compiled, 3)
    assert recompiles(warm) == 0
    with forbid_recompiles():
        assert call(compiled, 2).shape == (2, 4)  # the error harmed nothing
    call(compiled, 3)  # and outside compiling is allowed again
    assert recompiles(warm) == 1


def test_inputs_made_another_way_are_new(compiled: nn.Module) -> None:
    call(compiled, 1)
    outside = torch.ones(1, 4)
    with pytest.raises(RecompileError), torch.inference_mode(), forbid_recompiles():
        compiled(outside)
    with pytest.raises(RecompileError), forbid_recompiles():
        compiled(outside)


def test_the_stance_reaches_every_thread(compiled: nn.Module) -> None:
    """Warmed up in the compute thread, guarded from another: what is compiled is shared, too."""
    with ThreadPoolExecutor(1) as compute:
        compute.submit(call, compiled, 1).result()
        with forbid_recompiles():
            assert call(compiled, 1).shape == (1, 4)
            assert compute.submit(call, compiled, 1).result().shape == (1, 4)
            with pytest.raises(RuntimeError, match="fail_on_recompile"):
                compute.submit(call, compiled, 2).result()


def test_more_sizes_than_torch_allows_by_itself(compiled: nn.Module) -> None:
    """In a thread that was started before: torch 2.13 has its configuration by thread."""
    before = compilations()
    with ThreadPoolExecutor(1) as compute:
        for samples in range(1, 21):
            compute.submit(call, compiled, samples).result()
    assert recompiles(before) == 20
    assert GRAPHS_MAX > 20


def test_other_errors_pass(compiled: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="something else") as caught, forbid_recompiles():
        raise RuntimeError("something else")
    assert not isinstance(caught.value, CompilationError)


def test_caches_go_into_the_folder(cache_folder: Path) -> None:
    use_cache(cache_folder)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache_folder)
    assert os.environ["TRITON_CACHE_DIR"] == str(cache_folder / "triton")
    use_cache(cache_folder)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompilationError, match=r"cache_folder: cannot make .*name a folder"):
        use_cache(tmp_path / "file" / "cache")


def test_a_folder_with_a_blank(tmp_path: Path) -> None:
    """inductor hands the path to the C++ compiler unquoted."""
    with pytest.raises(CompilationError, match=r"cache_folder: .*no blank"):
        use_cache(tmp_path / "my cache")
    assert not (tmp_path / "my cache").exists()


def test_modes(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a mode with CUDA graphs of its own; on a CPU no autotuning."""
    asked: list[dict[str, Any]] = []

    def note(module: nn.Module, **options: Any) -> nn.Module:
        asked.append(options)
        return module

    monkeypatch.setattr(torch, "compile", note)
    for autotune in (False, True):
        compile_regions(model(4), cache_folder=cache_folder, autotune=autotune)
    assert [options["mode"] for options in asked] == ["default", "default"]
    assert all(options["dynamic"] is False and options["fullgraph"] for options in asked)


@torch.inference_mode()
def test_blocks_of_one_shape_share_a_graph(eager_backend: Path) -> None:
    """GPU finding 3: graphs are distinct shapes times batches, whatever the number of blocks."""
    plain = model(4, 4, 6, 4, 6, 6)
    fast = compile_regions(plain, cache_folder=eager_backend)
    before = compilations()
    for samples in (1, 2, 5):
        assert torch.equal(call(fast, samples), call(plain, samples))
    assert recompiles(before) == 2 * 3  # widths 4 and 6
    call(plain, 7)  # the given one is never compiled
    assert recompiles(before) == 2 * 3


def test_weights_are_shared_and_the_given_model_keeps_its_blocks(eager_backend: Path) -> None:
    plain: Any = model(4, 4)
    plain.again = plain[1]  # one block under two names
    fast: Any = compile_regions(plain, cache_folder=eager_backend)
    assert fast.again is fast[1]
    assert type(plain[1]) is BasicTransformerBlock
    assert fast[1] is not plain[1]
    assert {id(each) for each in fast.parameters()} == {id(each) for each in plain.parameters()}
    with torch.inference_mode():
        before = call(fast, 2).clone()
        plain[1].linear.bias.add_(1.0)
        assert torch.equal(call(fast, 2), call(plain, 2))
        assert not torch.equal(call(fast, 2), before)


def test_a_model_without_blocks_is_refused(cache_folder: Path) -> None:
    with pytest.raises(CompilationError, match=r"Linear has no block .*compile=false"):
        compile_regions(nn.Linear(1, 1), cache_folder=cache_folder)


IMPORTS = """
import sys, torch
before = set(sys.modules)
import serve.acceleration.compilation
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(new - sys.stdlib_module_names), "torch._dynamo" in sys.modules)
"""


def test_importing_it_loads_no_compiler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['msgspec', 'serve'] False"
