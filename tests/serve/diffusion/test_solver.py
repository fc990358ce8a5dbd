"""Tables against the diffusers schedulers' own loops. torch is imported inside."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import numpy as np
import pytest

from tests.serve.diffusing import error, quiet

torch = pytest.importorskip("torch")
pytestmark = quiet

EXACT = 1e-5
STEPS = [1, 2, 3, 7, 20, 50]
BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
ALPHA_BAR = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
# What a configuration says, and what the pipeline hands over beside the steps.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ddim", {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False}, {}),
    ("ddim", {"timestep_spacing": "trailing", "clip_sample": False}, {}),
    ("ddim", {"prediction_type": "v_prediction", "clip_sample": False}, {}),
    ("ddim", {"prediction_type": "sample", "clip_sample": False}, {}),
    ("euler", {"timestep_spacing": "leading", "steps_offset": 1}, {}),
    ("euler", {"timestep_spacing": "trailing"}, {}),
    ("euler", {"prediction_type": "v_prediction"}, {}),
    ("euler", {"use_karras_sigmas": True}, {}),
    ("dpm++2m", {}, {}),
    ("dpm++2m", {"timestep_spacing": "leading", "steps_offset": 1}, {}),
    ("dpm++2m", {"use_karras_sigmas": True}, {}),
    ("dpm++2m", {"prediction_type": "v_prediction"}, {}),
    ("dpm++2m", {"solver_order": 1}, {}),
    ("dpm++2m", {"solver_type": "heun"}, {}),
    ("dpm++2m", {"euler_at_final": True}, {}),
    ("dpm++2m", {"final_sigmas_type": "sigma_min"}, {}),
    ("flow-euler", {"shift": 3.0}, {}),
    ("flow-euler", {"use_dynamic_shifting": True}, {"mu": 0.8}),
    ("flow-euler", {"use_dynamic_shifting": True}, {"mu": 1.1, "sigmas": "even"}),
]


def made(name: str, config: dict[str, Any]) -> Any:
    from serve.diffusion.solver import SCHEDULERS

    return SCHEDULERS[name](**({} if name == "flow-euler" else BETAS), **config)


def timesteps(told: dict[str, Any], steps: int) -> dict[str, Any]:
    even = {"sigmas": np.linspace(1.0, 1 / steps, steps)} if "sigmas" in told else {}
    return told | even


def play(scheduler: Any, steps: int, told: dict[str, Any], x: Any, outputs: Any) -> Any:
    """Its own loop: what the network sees, the clean latents it says, the next latents."""
    number = {} if "sigmas" in told else {"num_inference_steps": steps}
    scheduler.set_timesteps(**number, **told)
    seen, clean, latents = [], [], []
    for t, output in zip(scheduler.timesteps, outputs, strict=True):
        scales = hasattr(scheduler, "scale_model_input")
        seen.append(scheduler.scale_model_input(x, t) if scales else x)
        step = scheduler.step(output, t, x)
        clean.append(getattr(step, "pred_original_sample", None))
        x = step.prev_sample
        latents.append(x)
    return seen, clean, latents


@pytest.mark.parametrize(("name", "config", "told"), CASES, ids=lambda each: str(each))
def test_a_table_says_what_the_scheduler_does(
    name: str, config: dict[str, Any], told: dict[str, Any]
) -> None:
    from serve.diffusion.solver import tabulate

    for steps in STEPS:
        generator = torch.Generator().manual_seed(steps)
        outputs = torch.randn(steps, 1, 4, 3, 5, generator=generator)
        table = tabulate(made(name, config), steps, **timesteps(told, steps))
        x = torch.randn(1, 4, 3, 5, generator=generator) * table.noise_scale
        scheduler = made(name, config)
        seen, clean, latents = play(scheduler, steps, timesteps(told, steps), x, outputs)
        assert len(table) == steps
        assert table.rows[:, 0].tolist() == scheduler.timesteps.tolist()
        before = torch.zeros_like(x)
        for i, (_, s, p, q, a, b, c) in enumerate(table.rows.tolist()):
            x0 = p * x + q * outputs[i]
            assert error(s * x, seen[i]) <= EXACT
            if clean[i] is not None:
                assert error(x0, clean[i]) <= EXACT
            x, before = a * x + b * x0 + c * before, x0
            assert error(x, latents[i]) <= EXACT, f"step {i} of {steps}"


@pytest.mark.parametrize(("prediction", "shift"), [("epsilon", None), ("flow", 3.0)])
def test_the_clean_latent_is_what_noise_was_added_to(prediction: str, shift: float | None) -> None:
    """A network that always knows the noise: every clean latent is the true one."""
    from serve.diffusion.solver import tabulate

    generator = torch.Generator().manual_seed(0)
    true, noise = torch.randn(2, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
    if prediction == "flow":  # x = (1 - sigma) x0 + sigma e, and the output is e - x0
        table, output, x = tabulate(made("flow-euler", {"shift": shift}), 7), noise - true, noise
    else:  # variance-exploding: x = x0 + sigma e
        table = tabulate(made("euler", {"timestep_spacing": "trailing"}), 7)
        output, x = noise, true + table.noise_scale * noise
    for _, _, p, q, a, b, _ in table.rows.tolist():
        x0 = p * x + q * output
        assert error(x0, true) < 1e-5
        x = a * x + b * x0
    assert error(x, true) < 1e-5


def test_dpm_is_of_first_order_first_and_last() -> None:
    from serve.diffusion.solver import tabulate

    before = tabulate(made("dpm++2m", {}), 7).rows[:, 6]
    assert before[0] == before[-1] == 0.0
    assert (before[1:-1] < 0).all()  # extrapolated from the step before
    assert not tabulate(made("ddim", {"clip_sample": False}), 7).rows[:, 6].any()
    assert not tabulate(made("euler", {}), 7).rows[:, 6].any()


@pytest.mark.parametrize(
    ("name", "config", "scale"),
    [
        ("ddim", {"clip_sample": False}, 1.0),
        ("dpm++2m", {}, 1.0),
        ("flow-euler", {}, 1.0),
        # sigma at t = 999
        ("euler", {"timestep_spacing": "trailing"}, (1 / ALPHA_BAR[999] - 1) ** 0.5),
        # 20 steps begin at t = 951: the square root of sigma^2 + 1
        ("euler", {"timestep_spacing": "leading", "steps_offset": 1}, ALPHA_BAR[951] ** -0.5),
    ],
)
def test_noise_scale(name: str, config: dict[str, Any], scale: float) -> None:
    from serve.diffusion.solver import tabulate

    assert tabulate(made(name, config), 20).noise_scale == pytest.approx(scale, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "config", "steps", "words"),
    [
        ("ddim", {}, 3, "clip_sample"),  # DDIM's own default
        ("ddim", {"thresholding": True, "clip_sample": False}, 3, "thresholding"),
        ("ddim", {"rescale_betas_zero_snr": True, "clip_sample": False}, 3, "rescale_betas"),
        ("euler", {"rescale_betas_zero_snr": True}, 3, "rescale_betas_zero_snr"),
        ("dpm++2m", {"thresholding": True}, 3, "thresholding"),
        ("dpm++2m", {"solver_order": 3}, 3, "solver_order 1 or 2"),
        ("dpm++2m", {"algorithm_type": "sde-dpmsolver++"}, 3, "algorithm_type=dpmsolver"),
        ("flow-euler", {"stochastic_sampling": True}, 3, "stochastic_sampling"),
        ("ddim", {"clip_sample": False}, 1001, "DDIMScheduler at 1001 steps"),
        ("flow-euler", {"use_dynamic_shifting": True}, 3, "mu"),
    ],
)
def test_refused(name: str, config: dict[str, Any], steps: int, words: str) -> None:
    from serve.diffusion.solver import SolverError, tabulate

    with pytest.raises(SolverError, match=words):
        tabulate(made(name, config), steps)


def test_an_unknown_scheduler_is_refused_with_the_known_ones() -> None:
    from diffusers import PNDMScheduler

    from serve.diffusion.solver import SolverError, own_name, tabulate

    assert own_name(PNDMScheduler()) is None
    with pytest.raises(SolverError, match="use one of: ddim, euler, dpm"):
        tabulate(PNDMScheduler(), 3)


def test_a_scheduler_that_clips_unsaid_shows_itself() -> None:
    from serve.diffusion.solver import SCHEDULERS, SolverError, tabulate

    scheduler = SCHEDULERS["flow-euler"]()
    step = scheduler.step

    def clipping(output: Any, t: Any, sample: Any) -> Any:
        made = step(output, t, sample)
        made.prev_sample = made.prev_sample.clamp(-100, 100)
        return made

    scheduler.step = clipping
    with pytest.raises(SolverError, match="not linear at step 0"):
        tabulate(scheduler, 3)


def test_variants_keep_the_configuration_and_do_not_clip() -> None:
    from serve.diffusion.solver import own_name, variant

    euler = made("euler", {"timestep_spacing": "leading", "steps_offset": 1})
    for name in ("ddim", "euler", "dpm++2m"):
        other = variant(euler, name)
        assert own_name(other) == name
        assert other.config.steps_offset == 1
        assert not other.config.get("clip_sample")
    assert variant(made("ddim", {"clip_sample": True}), "ddim").config.clip_sample
