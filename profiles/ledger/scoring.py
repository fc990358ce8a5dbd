"""Runs that have come in, held against a ledger's predictions."""

from collections.abc import Sequence
from pathlib import Path

from profiles.capacity.goodput import measure_goodput
from profiles.capacity.search_evidence import look_found, read_found
from profiles.ledger import ledger, predictions
from profiles.ledger.ledger import LedgerError, Prediction
from profiles.ledger.predictions import Arrived, Record
from profiles.record import columns
from profiles.record.folder import RunError, RunFolder
from profiles.requests.slo import EvidenceError, parse_slo
from profiles.requests.target import servers_in_use
from profiles.schema import RunManifest
from profiles.summary.run import compute


def arrived(root: Path, made: Sequence[Prediction]) -> list[Arrived]:
    """The valid runs under `root` that any prediction may be about, at its SLO.

    A folder that is no run, or cannot be read, is passed by: others may still score.
    """
    wanted = sorted({(one.subject.scenario, one.subject.slo) for one in made})
    found = []
    for path in sorted(root.glob("*/run.json")):
        try:
            folder = RunFolder.open(path.parent)
            manifest = folder.manifest()
            slos = [slo for scenario, slo in wanted if scenario == manifest.scenario]
            if slos:
                found += _arrived(folder, slos)
        except (RunError, OSError, ValueError, ArithmeticError, LookupError):
            continue  # no run, half a one, one that may not be read, or whose record contradicts it
    return found


def _arrived(folder: RunFolder, slos: Sequence[str]) -> list[Arrived]:
    """One run at each SLO that it can be counted at."""
    manifest = folder.manifest()
    servers = servers_in_use(manifest)
    search = read_found(folder.path)
    recorded = None if search else columns.read(folder)
    if not (search.valid if search else recorded and compute(recorded).valid):
        return []
    came = []
    for text in slos:
        try:
            slo = parse_slo(text)
            if search is not None:
                seen = look_found(search, manifest, servers, slo)
            else:
                assert recorded is not None
                seen = measure_goodput(recorded, slo, servers)
        except EvidenceError:
            continue
        came.append(
            Arrived(
                run_id=manifest.run_id,
                start_utc=manifest.start_utc,
                subject=predictions.subject(manifest, text),
                servers=servers,
                quantity=ledger.GOODPUT if search else ledger.SATURATED,
                images_per_s=seen.rate_per_gpu * servers,
            )
        )
    return came


def record_of(path: Path, like: RunManifest | None, root: Path | None = None) -> Record:
    """How a ledger's predictions of `like`'s model and device did, by the runs beside it.

    The runs are under `root`, or beside the ledger. How stubs scale says nothing of GPUs, nor one
    model of another; None: a rate that was published, of which nothing was predicted.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    if like is None:
        return predictions.sum_up([], [])
    about = predictions.subject(like, "")
    made = [
        one
        for one in ledger.read(path).predictions
        if (one.subject.model, one.subject.device) == (about.model, about.device)
        and not one.superseded
    ]
    return predictions.sum_up(made, predictions.score(made, arrived(root or path.parent, made)))


def record_told(path: Path, like: RunManifest) -> str:
    """The record in a sentence, also where the ledger cannot be read."""
    try:
        return predictions.told(record_of(path, like))
    except LedgerError as err:
        return f"The ledger could not be read: {err}"
