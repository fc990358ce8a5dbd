"""`viralload ledger`, and what is written down for it."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from loadtest.cli.results import as_json
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.system.terminal import show
from profiles.capacity.goodput import GoodputAtSlo, measure_goodput
from profiles.ledger import ledger, predictions, scoring
from profiles.ledger.ledger import FILE_NAME, LedgerError
from profiles.ledger.predictions import Record
from profiles.record import columns
from profiles.record.folder import RunFolder
from profiles.report.text.ledger import ledger_text
from profiles.requests.slo import EvidenceError, own_slo
from profiles.requests.target import servers_in_use
from profiles.schema import Summary


def call(options: argparse.Namespace, _command: list[str]) -> int:
    """The verb `ledger`; returns the exit code.

    Raises:
        ConfigurationError: there is no such file as --ledger names.
        ViralloadError: the ledger cannot be read.
    """
    path = options.ledger or options.out / FILE_NAME
    if options.ledger is not None and not path.exists():
        raise ConfigurationError(f"--ledger: there is no {path}")
    try:
        book = ledger.read(path)
    except LedgerError as err:
        raise ViralloadError(str(err)) from err
    runs = scoring.arrived(options.out, book.predictions)
    scores = predictions.score(book.predictions, runs)
    current = [one for one in book.predictions if not one.superseded]
    record = predictions.sum_up(current, scores)
    if options.json:
        told = {
            "record": record,
            "scores": scores,
            "damaged_lines": book.damaged,
            "superseded": len(book.predictions) - len(current),
        }
        sys.stdout.write(as_json(told))
    else:
        show(ledger_text(path, book, scores, record))
    return 0


def note(folder: RunFolder, summary: Summary) -> None:
    """Write down what a run with a block figure predicts for the next tests; none, nothing."""
    if summary.capacity is None or summary.capacity.withheld is not None:
        return
    recorded = columns.read(folder)
    manifest = recorded.manifest
    path = folder.path.parent / FILE_NAME
    try:
        seen = [measure_goodput(recorded, own_slo(manifest), servers_in_use(manifest))]
        write(path, seen, scoring.record_of(path, manifest))
    except (EvidenceError, LedgerError) as err:
        sys.stderr.write(f"warning: nothing was written to the ledger: {err}\n")


def write(path: Path, seen: list[GoodputAtSlo], record: Record) -> int:
    """Write down what is predicted now and was not yet; how many predictions that is."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    made = predictions.predict(seen, now, record)
    fresh = predictions.fresh(made, ledger.read(path).predictions)
    ledger.append(path, fresh)
    return len(fresh)
