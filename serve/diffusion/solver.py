"""What a diffusers scheduler does to one image, as a table of numbers: a row a step.

The deterministic samplers offered here are linear in the latent x, the network's output e and the
previous step's prediction of the clean latent. So a few numbers say all that a step does, and
images at different steps of different samplers share one call of the network:

    in  = s x                         what the network sees, at timestep t
    x0  = p x + q e                   the clean latent as predicted now
    x'  = A x + B x0 + C x0_before    the latent of the next step

The numbers are *probed* from the diffusers scheduler: its own `step` is fed ones and zeros. Written
with x0 in place of e (e = (x0 - p x) / q), a preview of the image costs nothing more.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from numpy.typing import NDArray

SCHEDULERS: Mapping[str, Any] = MappingProxyType(
    {
        "ddim": DDIMScheduler,
        "euler": EulerDiscreteScheduler,
        "dpm++2m": DPMSolverMultistepScheduler,
        "flow-euler": FlowMatchEulerDiscreteScheduler,
    }
)
COLUMNS = ("t", "s", "p", "q", "A", "B", "C")
# Inputs far beyond any latent: a scheduler that clips or thresholds shows itself.
LINEARITY_PROBE = 1e4
LINEARITY_TOLERANCE = 1e-3


class SolverError(ValueError):
    """A scheduler that no table can stand for; the message names its setting."""


class Table:
    """One sampler at one number of steps.

    Attributes:
        rows: float64 of shape (steps, 7): the columns t, s, p, q, A, B, C.
        noise_scale: What unit noise is multiplied by to become the first latent.
    """

    def __init__(self, rows: NDArray[np.float64], noise_scale: float) -> None:
        self.rows = rows
        self.noise_scale = noise_scale

    def __len__(self) -> int:
        """The denoising steps."""
        return len(self.rows)


def variant(scheduler: Any, name: str) -> Any:
    """The scheduler called `name` with this one's configuration, as diffusers swaps them.

    Latents are never clipped unless the configuration says so: DDIM's own default is for pixels.
    """
    extras = {"clip_sample": scheduler.config.get("clip_sample", False)} if name == "ddim" else {}
    return SCHEDULERS[name].from_config(scheduler.config, **extras)


def own_name(scheduler: Any) -> str | None:
    """What a pipeline's own scheduler is called here; None if it is not offered."""
    return next((name for name, kind in SCHEDULERS.items() if type(scheduler) is kind), None)


def tabulate(scheduler: Any, steps: int, **timesteps: Any) -> Table:
    """Probe a scheduler of `SCHEDULERS` over all of its steps.

    Args:
        scheduler: A diffusers scheduler; its state is overwritten.
        steps: Denoising steps.
        timesteps: What the pipeline hands to `set_timesteps` beside the number.

    Raises:
        SolverError: The scheduler is not linear, not finite, or has not so many steps.
    """
    _check(scheduler)
    number = {} if "sigmas" in timesteps else {"num_inference_steps": steps}
    try:
        scheduler.set_timesteps(**number, **timesteps)
    except ValueError as err:
        raise SolverError(f"{type(scheduler).__name__} at {steps} steps: {err}") from err
    rows = np.array(
        [[float(t), *_probe(scheduler, i, t)] for i, t in enumerate(scheduler.timesteps)],
        dtype=np.float64,
    )
    if len(rows) != steps or not np.isfinite(rows).all():
        raise SolverError(f"{type(scheduler).__name__} has no finite table of {steps} steps")
    # Flow matching starts from unit noise and has no such attribute.
    return Table(rows, float(getattr(scheduler, "init_noise_sigma", 1.0)))


def _probe(scheduler: Any, i: int, t: Any) -> tuple[float, ...]:
    """The numbers s, p, q, A, B, C of step i at timestep t."""
    s = _scale(scheduler, i, t)
    (a, p), (b, q), (c, _) = (
        _step(scheduler, i, t, *unit)
        for unit in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    )
    large = LINEARITY_PROBE
    both, _ = _step(scheduler, i, t, large, -large, large)
    expected = large * (a - b + c)
    scale = large * max(abs(a), abs(b), abs(c), 1.0)
    if not math.isclose(both, expected, rel_tol=0.0, abs_tol=LINEARITY_TOLERANCE * scale):
        raise SolverError(f"{type(scheduler).__name__} is not linear at step {i}")
    return s, p, q, a - b * p / q, b / q, c


def _step(
    scheduler: Any, i: int, t: Any, x: float, e: float, x0_before: float
) -> tuple[float, float]:
    """The next latent and the clean latent that step i makes of x, e and the x0 before."""
    sample, output, before = (torch.full((1, 1, 1, 1), value) for value in (x, e, x0_before))
    name = own_name(scheduler)
    if name == "ddim":
        made = scheduler.step(output, t, sample)
        return made.prev_sample.item(), made.pred_original_sample.item()
    scheduler._step_index = i
    if name == "dpm++2m":
        clean = scheduler.convert_model_output(output, sample=sample).item()
        scheduler.model_outputs = [before, before] if i else [None, None]
        scheduler.lower_order_nums = min(i, scheduler.config.solver_order)
        return scheduler.step(output, t, sample).prev_sample.item(), clean
    made = scheduler.step(output, t, sample)
    if name == "flow-euler":
        return made.prev_sample.item(), x - scheduler.sigmas[i].item() * e
    return made.prev_sample.item(), made.pred_original_sample.item()


def _scale(scheduler: Any, i: int, t: Any) -> float:
    """What the latent is multiplied by before the network sees it."""
    if not hasattr(scheduler, "scale_model_input"):
        return 1.0
    if hasattr(scheduler, "_step_index"):
        scheduler._step_index = i
    scaled: float = scheduler.scale_model_input(torch.ones(1, 1, 1, 1), t).item()
    return scaled


def _check(scheduler: Any) -> None:
    """Refuse what the table cannot express.

    Raises:
        SolverError: Names the setting at fault.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if own_name(scheduler) is None:
        raise SolverError(f"{name} is not offered; use one of: {', '.join(SCHEDULERS)}")
    for setting in ("clip_sample", "thresholding", "stochastic_sampling", "rescale_betas_zero_snr"):
        if config.get(setting):
            raise SolverError(f"{name} with {setting} is not linear or not finite; turn it off")
    if own_name(scheduler) == "dpm++2m" and (
        config.algorithm_type != "dpmsolver++" or config.solver_order > 2
    ):
        raise SolverError(f"{name}: only algorithm_type=dpmsolver++ of solver_order 1 or 2")
