"""Predictions written down before the fact, and scored once the runs have come in.

`ledger.jsonl`, beside the run folders, a line a prediction: append-only, so nothing is ever taken
back. Scores are computed from the runs each time and never stored: they follow from both.

LedgerError
    the file cannot be read or written, or is of a newer schema; the text says what to do
"""

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from profiles.capacity.evidence import SEARCHED
from profiles.record.json_lines import DamagedError, decoded, open_regular

FILE_NAME = "ledger.jsonl"
LEDGER_VERSION = 2  # 1: of a run its mean over the curve, within the SLO
GOODPUT = "goodput_images_per_s"  # at the SLO: of searches
SATURATED = "saturated_images_per_s"  # while a queue stood: of runs


class LedgerError(Exception):
    """A ledger that cannot be used; the text says what to do."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction is about; a run of exactly this may score it."""

    scenario: str
    model: str | None
    device: str  # the GPUs' names, or "cpu"
    settings_sha: str  # of the server's settings but replicas, ports and folders
    slo: str  # as "p(95) < 10s"
    peak: str | None  # what the load's peak stands on, so that loads grow alike; None: unknown


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the next test of `servers` GPUs or replicas would show: a line of the ledger."""

    schema_version: int = LEDGER_VERSION
    id: str
    made_utc: str  # ISO 8601; only runs that began later score it
    from_runs: list[str]
    from_servers: int  # GPUs or replicas of those runs
    subject: Subject
    quantity: str = GOODPUT
    servers: int  # GPUs or replicas of the test predicted
    value: float  # images/s of them together
    low: float
    high: float
    level: float
    basis: str  # in words

    @property
    def superseded(self) -> bool:
        """Whether it tells a run's mean over its curve, which no run is counted by any more."""
        return self.schema_version == 1 and self.subject.peak != SEARCHED


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds, in its order."""

    predictions: list[Prediction]
    damaged: int = 0  # lines that do not decode; a torn last line is not one


def prediction_id(made_utc: str, from_runs: Sequence[str], servers: int, quantity: str) -> str:
    """A short name that the same prediction made at the same time has again."""
    text = "\n".join([made_utc, *from_runs, str(servers), quantity])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def append(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions at the end, all or none, one process at a time.

    A torn last line, of a process killed while writing, is ended first, so that it stays one
    damaged line and hides no other.

    Raises:
        LedgerError: the file cannot be written.
    """
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in predictions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, or by death
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else b"\n" + lines
            file.write(lines)
            os.fsync(file.fileno())
    except OSError as err:
        raise LedgerError(
            f"cannot write {path}: {err.strerror or err}. Name a writable file with --ledger FILE"
        ) from err


def read(path: Path) -> Ledger:
    """Every prediction of a file; none where there is no file.

    Raises:
        LedgerError: unreadable, or written by a newer viralload.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except FileNotFoundError:
        return Ledger(predictions=[])
    except OSError as err:
        raise LedgerError(f"cannot read {path}: {err.strerror or err}") from err
    whole = data.split(b"\n")[:-1]  # what follows the last newline may be being written right now
    found, damaged = [], 0
    for place, line in enumerate(whole, 1):
        if not line.strip():
            continue
        try:
            if decoded(VERSIONED, line).schema_version > LEDGER_VERSION:
                raise LedgerError(
                    f"{path}, line {place}: written by a newer viralload; use that one to read it"
                )
            found.append(decoded(PREDICTION, line))
        except DamagedError:
            damaged += 1
    return Ledger(predictions=found, damaged=damaged)


class _Versioned(msgspec.Struct):
    schema_version: int


VERSIONED = msgspec.json.Decoder(_Versioned)
PREDICTION = msgspec.json.Decoder(Prediction)
