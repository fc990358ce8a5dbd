"""A simulated hour for a terminal: simulated, and said so in its first word. Pure."""

from profiles import formats
from profiles.fleet.sizing import Needed
from profiles.schema import Outcome
from profiles.schema.fleet import Simulated


def fleet_text(played: Simulated, needed: Needed | None = None) -> str:
    """The whole text, ending in a newline."""
    lines = [headline(played), ""]
    lines += [f"{name:<11} {words}" for name, words in rows(played, needed)]
    lines.append("")
    lines += [f"{'stands on' if i == 0 else '':<12}- {one}"
              for i, one in enumerate(played.assumptions)]  # fmt: skip
    lines += [f"{'left out' if i == 0 else '':<12}- {one}"
              for i, one in enumerate(played.left_out)]  # fmt: skip
    return "\n".join(lines) + "\n"


def headline(played: Simulated) -> str:
    """The verdict in one sentence."""
    return (
        f"SIMULATED — {formats.share(played.slo_share)} of {_asked(played)} would come "
        f"back within {formats.seconds(played.slo_s)} on {played.fleet.gpus:,} "
        f"{played.fleet.service.servers}; "
        f"{formats.share(played.shed_share)} of the attempts would be refused."
    )


def _servers(played: Simulated) -> str:
    return "servers" if played.fleet.service.no_gpu else "GPUs"


def _asked(played: Simulated) -> str:
    """The requests, or the images where each is one."""
    if not played.people.counts_images:
        return f"{played.requests:,} images"
    return f"{played.requests:,} requests for {played.images:,} images"


def rows(played: Simulated, needed: Needed | None = None) -> list[tuple[str, str]]:
    """The figures by name."""
    fleet = played.fleet
    told = [
        (
            "images/s",
            (
                f"offered {formats.number(played.offered_images_per_s)}   "
                f"completed {formats.number(played.completed_images_per_s)}   "
                f"goodput {formats.number(played.goodput_images_per_s)}"
            ),
        ),
        (
            "latency",
            (
                f"p50 {formats.seconds(played.latency_p50_s)}   "
                f"p95 {formats.seconds(played.latency_p95_s)}   "
                f"p99 {formats.seconds(played.latency_p99_s)}   "
                f"(each known to {formats.share(played.latency_resolution)})"
            ),
        ),
        (
            "requests",
            ", ".join(
                f"{count:,} {formats.OUTCOME_WORDS[Outcome(name)]}"
                for name, count in played.outcomes.items()
                if count
            ),
        ),
        (
            "attempts",
            f"{played.attempts:,}, {formats.share(played.shed_share)} of them refused",
        ),
        (
            _servers(played),
            (
                f"{fleet.gpus:,} in {fleet.cells:,} cells: {formats.share(played.busy_share)} of "
                f"their ready time busy, batches of {formats.number(played.batch_mean)}"
            ),
        ),
        (
            "rules",
            (
                f"policy {fleet.policy}, routing {fleet.routing}, batches of at most "
                f"{fleet.batch_limit}; seed {played.seed}"
            ),
        ),
    ]
    if played.slo_share_by_class:
        shares = [f"{name} {formats.share(value)}"
                  for name, value in played.slo_share_by_class.items()]  # fmt: skip
        told.insert(3, ("in time", "   ".join(shares)))
    if needed is not None:
        told.append((f"{_servers(played)} needed", needed_words(needed)))
    return told


def needed_words(needed: Needed) -> str:
    """What the search found."""
    goal = f"for {formats.share(needed.slo_share)} within {formats.seconds(needed.slo_s)}"
    if needed.gpus is None:
        return f"none of the {len(needed.tried)} sizes tried suffices {goal}"
    return f"{needed.gpus:,} {goal} ({len(needed.tried)} sizes simulated)"
