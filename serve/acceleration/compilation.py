"""torch.compile as a server needs it: ahead of the load, from a cache on disk, never during it.

One shape is one graph (`dynamic=False`): warm each batch and size that will be served up, in the
thread that serves and under the same `torch.inference_mode`, then serve within
`forbid_recompiles`. A graph is found again only if nothing it was specialized on has changed,
and that is more than shapes: Python numbers (pass timesteps and guidance as tensors), strides and
memory format, dtype, and whether a tensor was made in inference mode.

A denoiser is compiled by *regions*: its blocks, of which SDXL's UNet has 70 and FLUX 57, come in a
handful of shapes, and those of one shape share one graph. What lies between them runs as it is.
Compiled whole, SDXL's UNet is said to take 40 to 90 s a batch (GPU finding 3).

The compiled module is captured in CUDA graphs by the caller, so inductor's own are left off. Only
torch is imported here; its compiler loads at the first compilation.
"""

import contextlib
import copy
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import nn

# A kind of block compiles once a shape; past torch's default of 8 it would give up and run eagerly,
# or with fullgraph raise; past 256 of all shapes, its second limit, likewise. Enough for SDXL's
# twelve shapes of resnets in thirteen batches of a dozen sizes.
GRAPHS_MAX = 2048
# The classes of blocks that repeat, by name, in the UNets, in SD 3.5 and in FLUX. In a fused model
# (`serve.acceleration.fused.fusion`) resnets are no regions: what is left there is convolutions,
# and operators that the compiler does not look into.
REGIONS = frozenset(
    {
        "BasicTransformerBlock",
        "FusedBlock",
        "ResnetBlock2D",
        "JointTransformerBlock",
        "FluxTransformerBlock",
        "FluxSingleTransformerBlock",
    }
)


class CompilationError(Exception):
    """The compiler cannot be used as asked; the message says what to do."""


class RecompileError(CompilationError):
    """A compiled module met inputs that its warm-up did not cover."""


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """Graphs since the process started: loaded from the cache, and compiled."""

    hits: int
    misses: int


def use_cache(folder: Path) -> None:
    """Direct inductor's caches of graphs, kernels and autotuning into a folder; once a process.

    inductor reads the folder from the environment whenever it compiles, and its compile workers
    inherit it; caching itself is on unless the environment says otherwise (TORCHINDUCTOR_FX_GRAPH_
    CACHE=0). A graph is keyed by its code, shapes, torch's version, settings and the kind of GPU,
    not by weights; processes may share the folder. What lies there is run as code: the folder is
    made for its owner alone.

    Raises:
        CompilationError: The folder cannot be written, or its path has a blank.
    """
    folder = folder.expanduser().resolve()
    if any(character.isspace() for character in str(folder)):
        raise CompilationError(
            f"cache_folder: '{folder}' would reach the C++ compiler unquoted; "
            "name a folder with no blank in its path"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise CompilationError(
            f"cache_folder: cannot make '{folder}' ({err.strerror}); name a folder to write to"
        ) from err
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CompilationError(
            f"cache_folder: cannot write to '{folder}'; name a folder that can be written"
        )
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")


def compile_regions(module: nn.Module, *, cache_folder: Path, autotune: bool = False) -> nn.Module:
    """A model whose repeated blocks are compiled at their first call with each shape.

    The given one stays as it is, and shares its weights. diffusers' `compile_repeated_blocks`
    would compile within it: then sizes that were not warmed up would compile during the load.

    Args:
        module: A model on its device, in evaluation mode; quantize and fuse it before.
        cache_folder: Where compiled code persists, see `use_cache`.
        autotune: On a GPU, time several kernels for every product: minutes without a cache.

    Raises:
        CompilationError: The folder cannot be used, see `use_cache`; or the model has no blocks
            of a known kind.
    """
    use_cache(cache_folder)
    if not any(type(each).__name__ in REGIONS for each in module.modules()):
        raise CompilationError(
            f"{type(module).__name__} has no block to compile ({', '.join(sorted(REGIONS))}): "
            "set compile=false"
        )
    on_gpu = any(tensor.is_cuda for tensor in module.parameters())
    mode = "max-autotune-no-cudagraphs" if autotune and on_gpu else "default"
    return _with_regions(module, mode, {})


def _with_regions(module: nn.Module, mode: str, made: dict[nn.Module, nn.Module]) -> nn.Module:
    """A copy of a tree of modules with its regions compiled; the tree itself stays as it is.

    Args:
        module: Its root.
        mode: torch.compile's.
        made: Copies by their originals, so that a module with two names stays one.
    """
    if module not in made:
        if type(module).__name__ in REGIONS:
            made[module] = _compile(module, mode=mode)
        else:
            made[module] = copied = copy.copy(module)  # parameters and buffers stay the same ones
            copied._modules = {
                name: None if child is None else _with_regions(child, mode, made)
                for name, child in module._modules.items()
            }
    return made[module]


def _compile(module: nn.Module, *, mode: str) -> nn.Module:
    # fullgraph: a region that cannot be one graph raises, rather than fall apart silently.
    options: dict[str, Any] = {"dynamic": False, "mode": mode, "fullgraph": True}
    torch._dynamo.config.accumulated_recompile_limit = GRAPHS_MAX  # of this thread, which compiles
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        # torch 2.13 has a configuration for each thread; as an argument the limit holds in all.
        options["recompile_limit"] = GRAPHS_MAX
    else:
        torch._dynamo.config.recompile_limit = GRAPHS_MAX
    compiled: Any = torch.compile(module, **options)
    return cast("nn.Module", compiled)


@contextlib.contextmanager
def forbid_recompiles() -> Iterator[None]:
    """Within this context a compiled module runs what is compiled, or raises.

    The stance behind it belongs to the whole process and takes effect when a compiled module is
    called, on whichever thread: enter it from one thread at a time, around the calls to guard, and
    compile nothing elsewhere meanwhile. Entering costs some microseconds.

    Raises:
        RecompileError: An input would have had to be compiled for; later calls are unharmed.
    """
    with torch.compiler.set_stance("fail_on_recompile"):
        try:
            yield
        except RuntimeError as err:
            if "fail_on_recompile" not in str(err):
                raise
            raise RecompileError(
                "an input was not warmed up before serving: warm up every batch and size, with "
                f"inputs made the same way. torch says: {err}"
            ) from err


def compilations() -> int:
    """Graphs that torch has compiled, or loaded from the cache, since the process started."""
    return int(_counters("stats")["unique_graphs"])


def recompiles(since: int) -> int:
    """Graphs since `compilations` gave that number: 0 for as long as the warm-up was complete."""
    return compilations() - since


def cache_use() -> CacheUse:
    """How many graphs came from the cache, by torch's own count."""
    count = _counters("inductor")
    return CacheUse(
        hits=count["fxgraph_cache_hit"],
        misses=count["fxgraph_cache_miss"] + count["fxgraph_cache_bypass"],
    )


def _counters(name: str) -> "dict[str, int]":
    """One group of torch's compile counters; an absent count is 0."""
    from torch._dynamo.utils import counters

    return counters[name]
