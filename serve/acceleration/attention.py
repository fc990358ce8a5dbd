"""Which kernels compute attention on a GPU.

From cuDNN 9.15 on, torch prefers cuDNN's attention on Hopper. It is the fastest there, and builds
an execution plan for every new shape and in every thread: 0.4 s each has been measured (torch 2.11
on a B200, 0.44 s a forward pass: FunASR issue 3704; an H20, 0.4 s: sglang issue 4650). Prompts come
in batches of any size, images in any size: each new one would stop its thread for as long.

So whatever is recorded once, in warm-up, uses cuDNN; all else uses torch's own flash attention,
which has no plans.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch.backends are untyped.

import contextlib
from collections.abc import Iterator

import torch


def use_no_plans() -> None:
    """Compute attention by kernels that take any shape at once, in the whole process."""
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextlib.contextmanager
def plans() -> Iterator[None]:
    """Within, kernels that plan for a shape are used where they are faster; in the whole process.

    For graphs that are recorded now and replayed later: they keep their plan.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
