"""Who arrives at a simulated block, as the scenario says; and what of it is not simulated. Pure."""

import itertools

import numpy as np

from loadtest.scenario.prompts import TEXTS
from loadtest.scenario.scenario import Scenario, image_weights
from loadtest.scenario.session import Session
from profiles.schema.fleet import People

TABLE = 201  # quantiles kept of think time and patience
LAST = 0.999  # the share that stands for the end of an endless distribution


def people_of(scenario: Scenario) -> People:
    """Who arrives: a request by itself, waited for as long as its timeout, or the [session]'s."""
    timeout_s = float(scenario.request.timeout)
    images = _mix(image_weights(scenario.request))
    session = scenario.session
    if session is None:
        return People(timeout_s=timeout_s, images=images)
    shares = {name: one.share for name, one in session.classes.items()}
    total = sum(shares.values())
    limits = {name: one.images_a_day for name, one in session.classes.items()}
    grid = np.linspace(0.0, 1.0, TABLE)
    inside = np.clip(grid, 1 - LAST, LAST)
    patience = session.patience
    return People(
        go_on=_go_on(session),
        think_s=tuple(session.think.quantile(inside).tolist()),
        patience_s=() if patience is None else tuple(patience.quantile(inside).tolist()),
        timeout_s=timeout_s,
        retry=session.retry.policy,
        most_attempts=session.retry.most_attempts,
        first_s=max(float(session.retry.first), 1e-3),
        cap_s=max(float(session.retry.cap), 1e-3),
        paying_share=shares.get("paying", 0.0) / total if total else 1.0,
        images=images,
        steps=_mix({int(count): weight for count, weight in (session.steps or {}).items()}),
        paying_images=limits.get("paying"),
        free_images=limits.get("free"),
    )


def left_out(scenario: Scenario) -> list[str]:
    """What the scenario says and a simulated block does not do, each with what is done instead."""
    request, told = scenario.request, []
    asked = {
        "size": request.size,
        "guidance_scale": request.guidance_scale,
        "negative_prompt": request.negative_prompt,
        "output_format": request.output_format,
        "prompts": None if request.prompts == TEXTS else "...",
    }
    named = [f"request.{name}" for name, value in asked.items() if value is not None]
    if named:
        told.append(f"{', '.join(named)}: an image takes what --service was measured to take")
    if scenario.server:
        rules = ", ".join(f"{name} = {value}" for name, value in scenario.server.items())
        told.append(
            f"[server] {rules}: the block's rules are the command line's (--policy, --max-batch, "
            "--max-queue, --deadline)"
        )
    if scenario.load.drain is not None:
        told.append("load.drain: answers are waited for 10 min after the load")
    if scenario.own_thresholds:
        told.append(f"thresholds ({', '.join(scenario.own_thresholds)}): nothing is judged")
    return told


def _mix(weights: dict[int, float]) -> tuple[tuple[int, float], ...]:
    """Values that come at all, with their weights."""
    return tuple((value, weight) for value, weight in sorted(weights.items()) if weight > 0)


def _go_on(session: Session) -> tuple[float, ...]:
    """Probability of another request after the n-th."""
    if not isinstance(session.requests, dict):
        more = 1.0 - 1.0 / float(session.requests)
        return (more,) if more > 0 else ()
    weights = {int(count): weight for count, weight in session.requests.items()}
    survive = [
        sum(weight for count, weight in weights.items() if count >= n)
        for n in range(1, max(weights) + 2)
    ]
    return tuple(b / a if a else 0.0 for a, b in itertools.pairwise(survive))
