"""The run folder: the only file that knows file names.

    runs/<UTC>-<scenario>[-label]/
        run.json                    RunManifest: written first, finished last
        scenario.toml               verbatim
        job.json                    what every generator process needs to play its share
        schedule.npy                the arrivals: t_s (seconds from load start), images
        requests-<generator>.jsonl  RequestRecord
        load-<generator>.jsonl      LoadSample
        gpu-<node>.jsonl            GpuSample
        state-<node>.jsonl          GpuState
        process-<node>.jsonl        GpuProcess
        sampler-<node>.jsonl        SamplerSample
        host-<node>.jsonl           HostSample
        clocks.jsonl                ClockSample, where generators are on other machines
        events.jsonl                RunEvent
        summary.json                Summary
        windows.jsonl               WindowRecord   } of `viralload find`, which has no summary
        window-<index>.npy          its arrivals   }
        windows.end                 none follows   }
        find.json                   FindResult     }
        report.html
        <process>.log

The folder is its user's alone (0700), and so is each file in it (0600): they hold prompts and
command lines.

JSON Lines files are append-only and written a whole line at a time, so a reader may look at any
moment, and what a killed process had written stays readable.
"""

import contextlib
import os
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from profiles import edge
from profiles.record.json_lines import DamagedError, LineWriter, Tail, append, decoded, open_regular
from profiles.schema import (
    SCHEMA_VERSION,
    ClockSample,
    FindResult,
    GpuProcess,
    GpuSample,
    GpuState,
    HostSample,
    LoadSample,
    RequestRecord,
    RunEvent,
    RunManifest,
    SamplerSample,
    Summary,
    WindowRecord,
)

T = TypeVar("T", bound=msgspec.Struct)

RESERVE_NAME = ".reserve"
RESERVE_BYTES = 16_384  # kept on the disk for the run's last words, should it fill meanwhile
PRIVATE = 0o077  # a umask: nothing for other users


class RunError(Exception):
    """A run folder that cannot be made, written or read; the text says what to do."""

    exit_code = 1


class RunFolder:
    """One run on disk. Holds a path and nothing else, so any process may make its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, scenario: str, label: str | None, now: datetime) -> "RunFolder":
        """Make `root/<UTC>-<scenario>[-label]`; an existing folder is never reused.

        Whatever this process and its children make from here on is this user's alone (umask 077).

        Raises:
            RunError: the folder cannot be made or written (permission, space).
        """
        stem = "-".join(
            _slug(part)
            for part in (now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"), scenario, label)
            if part
        )
        try:
            root.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, 1000):
                path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
                try:
                    path.mkdir(mode=0o700)
                except FileExistsError:
                    continue
                os.umask(PRIVATE)
                try:  # a full or read-only disk may still make folders
                    (path / RESERVE_NAME).write_bytes(b"0" * RESERVE_BYTES)
                except OSError:
                    cls(path).remove()
                    raise
                return cls(path)
        except OSError as err:
            raise RunError(
                f"cannot write a run folder under {root}: {err.strerror or err}. "
                "Name a writable place with --out DIR."
            ) from err
        raise RunError(f"{root} holds a thousand runs named {stem}; name another place with --out")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run at `path`.

        Raises:
            RunError: there is no run.
        """
        if not (path / "run.json").is_file():
            raise RunError(f"{path} is no run folder: it has no run.json")
        return cls(path)

    def free_reserve(self) -> None:
        """Give back the room that was kept for the run's last words."""
        with contextlib.suppress(OSError):
            (self.path / RESERVE_NAME).unlink()

    def remove(self) -> None:
        """Delete it and all it holds; what cannot be deleted stays."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def scenario_path(self) -> Path:
        """The scenario, verbatim."""
        return self.path / "scenario.toml"

    @property
    def asks_path(self) -> Path:
        """What a scenario's requests ask for, in its mix: a row each, without instants."""
        return self.path / "asks.npy"

    @property
    def job_path(self) -> Path:
        """The generators' instructions."""
        return self.path / "job.json"

    @property
    def schedule_path(self) -> Path:
        """The arrivals: a structured array of t_s (float64) and images (uint16)."""
        return self.path / "schedule.npy"

    def window_path(self, index: int) -> Path:
        """The arrivals of a search's window, of the same kind as the schedule."""
        return self.path / f"window-{index}.npy"

    @property
    def windows_end_path(self) -> Path:
        """Exists once no window follows any more."""
        return self.path / "windows.end"

    @property
    def find_path(self) -> Path:
        """A search's result."""
        return self.path / "find.json"

    @property
    def summary_path(self) -> Path:
        """The summary."""
        return self.path / "summary.json"

    @property
    def report_path(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def requests_path(self, generator: str) -> Path:
        """The RequestRecords of one generator."""
        return self.path / f"requests-{_slug(generator)}.jsonl"

    def load_path(self, generator: str) -> Path:
        """The LoadSamples of one generator."""
        return self.path / f"load-{_slug(generator)}.jsonl"

    def log_path(self, process: str) -> Path:
        """Where a child process's own output goes."""
        return self.path / f"{_slug(process)}.log"

    # -- documents ---------------------------------------------------------------------------

    def write_manifest(self, manifest: RunManifest) -> None:
        """Replace run.json in one step, so that a reader never sees half of it."""
        self._replace("run.json", manifest)

    def manifest(self) -> RunManifest:
        """Read run.json.

        Raises:
            RunError: unreadable, or of a newer schema.
        """
        return self._document("run.json", RunManifest)

    def write_summary(self, summary: Summary) -> None:
        """Replace summary.json in one step."""
        self._replace("summary.json", summary)

    def summary(self) -> Summary:
        """Read summary.json.

        Raises:
            RunError: unreadable, or of a newer schema.
        """
        return self._document("summary.json", Summary)

    def write_find(self, result: FindResult) -> None:
        """Replace find.json in one step."""
        self._replace("find.json", result)

    def find(self) -> FindResult:
        """Read find.json.

        Raises:
            RunError: unreadable, or of a newer schema.
        """
        return self._document("find.json", FindResult)

    # -- streams -----------------------------------------------------------------------------

    def requests_writer(self, generator: str) -> LineWriter:
        """Appends RequestRecords."""
        return LineWriter(self.requests_path(generator))

    def load_writer(self, generator: str) -> LineWriter:
        """Appends LoadSamples."""
        return LineWriter(self.load_path(generator))

    def gpu_writer(self, node: str) -> LineWriter:
        """Appends GpuSamples."""
        return LineWriter(self.path / f"gpu-{_slug(node)}.jsonl")

    def host_writer(self, node: str) -> LineWriter:
        """Appends HostSamples."""
        return LineWriter(self.path / f"host-{_slug(node)}.jsonl")

    def state_writer(self, node: str) -> LineWriter:
        """Appends GpuStates."""
        return LineWriter(self.path / f"state-{_slug(node)}.jsonl")

    def process_writer(self, node: str) -> LineWriter:
        """Appends GpuProcesses."""
        return LineWriter(self.path / f"process-{_slug(node)}.jsonl")

    def sampler_writer(self, node: str) -> LineWriter:
        """Appends SamplerSamples."""
        return LineWriter(self.path / f"sampler-{_slug(node)}.jsonl")

    def append_event(self, event: RunEvent) -> None:
        """Append one RunEvent; safe from several processes (one O_APPEND write)."""
        append(self.path / "events.jsonl", event)

    def append_clock(self, sample: ClockSample) -> None:
        """Append one ClockSample; safe from several processes (one O_APPEND write)."""
        append(self.path / "clocks.jsonl", sample)

    def append_window(self, window: WindowRecord) -> None:
        """Append one WindowRecord."""
        append(self.path / "windows.jsonl", window)

    def windows(self) -> Tail[WindowRecord]:
        """Every WindowRecord so far."""
        return Tail(self.path, "windows.jsonl", WindowRecord)

    def requests(self) -> Tail[RequestRecord]:
        """Every RequestRecord so far; call `.read()` again for those that came since."""
        return Tail(self.path, "requests-*.jsonl", RequestRecord)

    def generators(self) -> list[str]:
        """The names of those that wrote RequestRecords, sorted."""
        names = (path.stem for path in self.path.glob("requests-*.jsonl"))
        return sorted(name.removeprefix("requests-") for name in names)

    def load(self) -> Tail[LoadSample]:
        """Every LoadSample so far."""
        return Tail(self.path, "load-*.jsonl", LoadSample)

    def gpu(self) -> Tail[GpuSample]:
        """Every GpuSample so far."""
        return Tail(self.path, "gpu-*.jsonl", GpuSample)

    def host(self) -> Tail[HostSample]:
        """Every HostSample so far."""
        return Tail(self.path, "host-*.jsonl", HostSample)

    def states(self) -> Tail[GpuState]:
        """Every GpuState so far."""
        return Tail(self.path, "state-*.jsonl", GpuState)

    def processes(self) -> Tail[GpuProcess]:
        """Every GpuProcess so far."""
        return Tail(self.path, "process-*.jsonl", GpuProcess)

    def sampler(self) -> Tail[SamplerSample]:
        """Every SamplerSample so far."""
        return Tail(self.path, "sampler-*.jsonl", SamplerSample)

    def events(self) -> Tail[RunEvent]:
        """Every RunEvent so far."""
        return Tail(self.path, "events.jsonl", RunEvent)

    def clocks(self) -> Tail[ClockSample]:
        """Every ClockSample so far."""
        return Tail(self.path, "clocks.jsonl", ClockSample)

    # -- inside ------------------------------------------------------------------------------

    def _replace(self, name: str, value: msgspec.Struct) -> None:
        self._put(name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")

    def write_report(self, page: str) -> None:
        """Replace report.html in one step.

        Raises:
            RunError: it cannot be written.
        """
        self._put("report.html", page.encode("utf-8", "replace"))

    def _put(self, name: str, data: bytes) -> None:
        """Replace a file in one step; a link in its place is replaced, never followed."""
        temporary = self.path / f".{name}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            try:
                with temporary.open("xb") as file:  # x: nor is a link of that name
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path / name)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        except OSError as err:
            raise RunError(f"cannot write {self.path / name}: {edge.reason(err)}") from err

    def _document(self, name: str, kind: type[T]) -> T:
        path = self.path / name
        try:
            with open_regular(path) as file:
                data = file.read()
        except OSError as err:
            raise RunError(f"cannot read {path}: {err.strerror or err}") from err
        try:
            version = decoded(msgspec.json.Decoder(_Versioned), data).schema_version
            if version > SCHEMA_VERSION:
                raise RunError(
                    f"{path} has schema version {version}, this viralload reads up to "
                    f"{SCHEMA_VERSION}: use a newer viralload"
                )
            return decoded(msgspec.json.Decoder(kind), data)
        except DamagedError as err:
            raise RunError(f"{path} is damaged: {err}") from err


class _Versioned(msgspec.Struct):
    schema_version: int


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "run"
