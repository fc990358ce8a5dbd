"""How each class, number of steps and size fared, and how answers were checked, in words. Pure."""

from profiles import formats
from profiles.schema import GroupSummary, Outcome, Summary

HEADER = (
    "Of", "Images", "In time", "Late", "Refused", "Abandoned", "Lost otherwise",
    "p50", "p95", "p99", "Attempts per image",
)  # fmt: skip
SHORT = [  # the same for a terminal, without the name
    "images", "in time", "late", "refused", "abandoned", "lost", "p50 s", "p95 s", "p99 s", "tries",
]  # fmt: skip
MEANING = (
    "Shares are of the images intended: in time is within the SLO, lost otherwise is failed, timed "
    "out or never sent. Latency is of ok requests, from when the image was first due; tries count "
    "every attempt sent."
)


def table(summary: Summary) -> list[list[str]]:
    """A header and a row a group; empty where requests do not differ."""
    rows = [_row(one) for one in summary.groups]
    return [list(HEADER), *rows] if rows else []


def lines(summary: Summary) -> list[tuple[str, str]]:
    """The same for a terminal: a group's name, and its figures in aligned columns."""
    rows = [
        [*row[1:7], *map(formats.number, _latency_s(one)), row[-1]]
        for one, row in zip(summary.groups, table(summary)[1:], strict=True)
    ]
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(SHORT, *rows, strict=True)]
    names = ["images of", *(_name(one) for one in summary.groups)]
    return [
        (name, "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)))
        for name, row in zip(names, [SHORT, *rows], strict=True)
    ]


def decoded(summary: Summary) -> str | None:
    """How many answers were decoded in full; None where the record does not tell."""
    if summary.decoded is None:
        return None
    ok = summary.outcomes.get(Outcome.OK.value, 0)
    if summary.decoded == ok:
        return f"all {formats.count(ok)} successful responses were fully decoded"
    return (
        f"{formats.count(summary.decoded)} of {formats.count(ok)} successful responses were fully "
        "decoded; the rest were checked for count, format, size and completeness"
    )


def _row(one: GroupSummary) -> list[str]:
    late = one.outcomes[Outcome.OK] - one.in_time_images
    lost = [one.outcomes[outcome] for outcome in (Outcome.REJECTED, Outcome.ABANDONED)]
    otherwise = one.images - one.in_time_images - late - sum(lost)
    return [
        _name(one),
        formats.count(one.images),
        *(
            formats.share(images / one.images if one.images else None)
            for images in (one.in_time_images, late, *lost, otherwise)
        ),
        *map(formats.seconds, _latency_s(one)),
        formats.number(one.attempts_per_image),
    ]


def _name(one: GroupSummary) -> str:
    return f"{one.value} steps" if one.tag == "steps" else one.value


def _latency_s(one: GroupSummary) -> tuple[float | None, ...]:
    return one.latency_p50_s, one.latency_p95_s, one.latency_p99_s
