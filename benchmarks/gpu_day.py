"""Everything that is to be measured on a GPU, in one command of at most ten minutes.

    python -m benchmarks.gpu_day --out DIR [--only PART ...] [--budget 590] [--rehearse]

Parts, in this order: environment, smoke, sdxl, http, sd15, ablation, sampler, tests (see
benchmarks.gpu_day_plan). Each is a process with a time-out of its own, killed with all that it
started; what it found until then is kept. Parts that no longer fit into the budget are skipped, and
said so. `--rehearse` takes the same way on a CPU with the tiny models and short times: it proves
the script, not a speed.

DIR is made, and must not be there. It gets

    figures.jsonl    a figure a line, as they came
    gpu-day.json     all of them, how each part ended, and where it ran: what is kept as
                     profiles/reference/h200-day.json (`cp`, and commit it)
    runs/, logs/     the run folder of `viralload run`, and what each part said
    gpu-day.tar.gz   all of that; `viralload report` draws the run's report from it elsewhere

stderr gets the progress, stdout the table of all figures beside their targets, last.

Ctrl-C or SIGTERM ends the part under way, and what was found so far is told. Where no network is,
`benchmarks.pack` brings the packages, and this command is all that is run.

Exit codes: 0 every part ran to its end, 1 one did not, 2 usage.
"""

import argparse
import json
import signal
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.gpu_day_figures import TARGETS, Figure, read, table
from benchmarks.gpu_day_plan import NAMES, PARTS, Asked, Part, chosen, command, time_for
from benchmarks.gpu_day_process import run
from benchmarks.options import environment

LAST_LINES = 12  # of a failed part's log
ARCHIVE_BYTES = 15 * 2**20  # an archive above this may be too large to be taken along
ENVIRON = {"PYTHONUNBUFFERED": "1"}
# inductor's pool of compile workers costs more than it saves for one block on few cores.
REHEARSED_ENVIRON = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a part went: `ran`, `failed`, `timed out`, `skipped` or `interrupted`."""

    name: str
    state: str
    seconds: float = 0.0
    limit_s: float | None = None
    code: int | None = None

    def told(self) -> str:
        """In words."""
        if self.state == "skipped":
            return f"{self.name}: skipped, it no longer fits into the budget"
        if self.state == "interrupted":
            return f"{self.name}: interrupted, and no part was begun after it"
        how = {"timed out": f", killed at its time-out of {self.limit_s:.0f} s"}
        how["failed"] = f", exit code {self.code}"
        return f"{self.name}: {self.state} in {self.seconds:.0f} s{how.get(self.state, '')}"


class Day:
    """A day in progress.

    Args:
        asked: What is wanted; its folder is there.
        parts: To choose from.
    """

    def __init__(self, asked: Asked, parts: Sequence[Part] = PARTS) -> None:
        self._asked = asked
        self._parts = parts
        self._began_s = time.monotonic()
        self._figures = asked.out / "figures.jsonl"
        self._told = 0
        (asked.out / "logs").mkdir()

    def run(self) -> list[Done]:
        """Run the parts, one after another."""
        done = []
        for part in chosen(self._asked, self._parts):
            left_s = self._asked.budget_s - self._seconds()
            limit_s = time_for(part, left_s, rehearse=self._asked.rehearse)
            if limit_s is None:
                done.append(Done(name=part.name, state="skipped"))
            else:
                self._say(f"{part.name}: starts, for at most {limit_s:.0f} s")
                try:
                    done.append(self._run(part, limit_s))
                except KeyboardInterrupt:  # what was found so far is told all the same
                    done.append(Done(name=part.name, state="interrupted"))
                    break
            self._say(done[-1].told())
        return done

    def _run(self, part: Part, limit_s: float) -> Done:
        log = self._asked.out / "logs" / f"{part.name}.log"
        ended = run(
            command(part, self._asked),
            log=log,
            limit_s=limit_s,
            environ=ENVIRON | (REHEARSED_ENVIRON if self._asked.rehearse else {}),
            tick=self._progress,
        )
        self._progress()
        state = "timed out" if ended.timed_out else "failed" if ended.code else "ran"
        if state != "ran":
            for line in log.read_text(errors="replace").splitlines()[-LAST_LINES:]:
                self._say(f"  | {line}")
        return Done(
            name=part.name,
            state=state,
            seconds=ended.seconds,
            limit_s=limit_s,
            code=None if ended.timed_out else ended.code,
        )

    def _progress(self) -> None:
        """Say the figures that came since."""
        figures = read(self._figures)
        for figure in figures[self._told :]:
            value = figure.note if figure.value is None else f"{figure.value} {figure.unit}"
            self._say(f"  {figure.name}: {value}")
        self._told = len(figures)

    def _seconds(self) -> float:
        return time.monotonic() - self._began_s

    def _say(self, line: str) -> None:
        print(f"[{self._seconds():4.0f} s] {line}", file=sys.stderr, flush=True)  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    """Run the day; returns the exit code."""
    try:
        asked = parse(argv)
        asked.out.mkdir(parents=True)
    except OSError as err:
        print(f"error: --out: {err.strerror}: {err.filename}", file=sys.stderr)  # noqa: T201
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # its parts end with it, either way
    done = Day(asked).run()
    figures = read(asked.out / "figures.jsonl")
    result = asked.out / "gpu-day.json"
    told = as_json(asked, done, figures)
    result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    archive(asked.out)
    print(ending(asked, done, figures), flush=True)  # noqa: T201
    return 0 if all(each.state == "ran" for each in done) else 1


def parse(argv: list[str] | None) -> Asked:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_day",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder to be made")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=(), metavar="PART",
                        help=f"run only these of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--budget", type=float, default=590.0, help="seconds in all")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with tiny models")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda, or cpu rehearsed")
    told = parser.parse_args(argv)
    return Asked(
        out=told.out.resolve(),
        only=tuple(told.only),
        rehearse=told.rehearse,
        device=told.device or ("cpu" if told.rehearse else "cuda"),
        budget_s=told.budget,
    )


def as_json(asked: Asked, done: Sequence[Done], figures: Sequence[Figure]) -> dict[str, object]:
    """The day as it is kept."""
    return {
        "benchmark": "gpu day",
        "rehearsal": asked.rehearse,
        "parts": msgspec.to_builtins(done),
        "figures": msgspec.to_builtins(figures),
        "targets": msgspec.to_builtins(TARGETS),
        **environment("benchmarks.gpu_day"),
    }


def archive(out: Path) -> Path:
    """All of the folder as one file in it, caches of compiled code left out."""
    path = out / "gpu-day.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for each in sorted(out.iterdir()):
            if each != path and each.name != "cache":
                tar.add(each, arcname=f"{out.name}/{each.name}")
    return path


def ending(asked: Asked, done: Sequence[Done], figures: Sequence[Figure]) -> str:
    """What is said last: the archive, how the parts went, and the table."""
    path = asked.out / "gpu-day.tar.gz"
    size = path.stat().st_size
    large = ", large: take logs/ and runs/ apart" if size > ARCHIVE_BYTES else ""
    lines = [f"{path}: {size / 2**20:.1f} MiB{large}", *(each.told() for each in done)]
    if asked.rehearse:
        lines.append("A REHEARSAL on a CPU with tiny models: no figure below is of any GPU.")
    return "\n".join([*lines, "", table(figures, () if asked.rehearse else TARGETS)])


if __name__ == "__main__":
    sys.exit(main())
