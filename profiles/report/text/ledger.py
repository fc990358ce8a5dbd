"""A ledger in words: each prediction, what came of it, and how they did together. Pure."""

from collections.abc import Sequence
from pathlib import Path

from profiles import formats
from profiles.ledger import predictions
from profiles.ledger.ledger import Ledger
from profiles.ledger.predictions import Record, Score


def ledger_text(path: Path, book: Ledger, scores: Sequence[Score], record: Record) -> str:
    """Each scored prediction in a line, those still open, and how they did together."""
    rows = [str(path), ""]
    by_id = {one.prediction.id: one for one in scores}
    current = [one for one in book.predictions if not one.superseded]
    for one in current:
        about = f"{one.subject.scenario}, {one.subject.model}, {one.servers} × {one.subject.device}"
        told = (
            f"{about}: {formats.number(one.value)} images/s "
            f"({formats.number(one.low)} to {formats.number(one.high)})"
        )
        came = by_id.get(one.id)
        if came is None:
            rows.append(f"  open   {told}")
            continue
        sign = "✓" if came.covered else "✗"
        rows.append(
            f"{sign} scored {told}; came {formats.number(came.actual)}, "
            f"{100.0 * came.error:+.2g}% ({came.run_id})"
        )
    if book.damaged:
        rows.append(f"{book.damaged} lines do not decode and were left out")
    if old := len(book.predictions) - len(current):
        rows.append(
            f"{old} older predictions tell means over a curve, not what a saturated node does: no "
            "run scores them; `viralload capacity RUN` predicts anew"
        )
    if not book.predictions:
        told = (
            "No prediction is written down there: `viralload capacity RUN` writes what it predicts."
        )
        return "\n".join([*rows, told]) + "\n"
    return "\n".join([*rows, "", predictions.told(record)]) + "\n"
