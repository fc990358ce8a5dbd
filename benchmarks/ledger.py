"""Predictions of how this node scales, written before the runs that score them.

python -m benchmarks.ledger --out DIR [--model stub] [--set max_batch=4 --set stub_step_s=0.02]
    [--servers 1 2 4 8] [--repeats 2]

The smallest size is run first and predicts the same again and 2, 4 and 8 times as many; its repeats
score the first, and all of them together predict anew. Only then are the larger sizes run, which
score the rest. With `stub` each replica takes a known time an image, so what fails to scale is the
layer before them; as it comes it is so fast that four saturate two cores, and `--set` slows it.
Server and load generator share the machine's cores: give it a quiet one, and 2 to 3 minutes a run.

DIR/ledger.jsonl, and on stdout what `viralload ledger --json` says of it: that is how
profiles/reference/ledger-stub-cpu.jsonl and ledger-stub-cpu-scores.json come to be.

Exit codes: 0 scored, 1 a run failed, 2 usage.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtest.cli import ledger as ledger_verb
from profiles.capacity.goodput import measure_goodput
from profiles.ledger import scoring
from profiles.ledger.ledger import FILE_NAME
from profiles.record import columns
from profiles.record.folder import RunFolder
from profiles.requests.slo import EvidenceError, own_slo
from profiles.requests.target import servers_in_use

SPOKEN = (0, 99)  # a run; at 1.3 times the capacity some threshold is missed
Call = Callable[[Sequence[str]], int]


class FailedError(Exception):
    """A command that ended as none should; the text names it."""


def viralload(words: Sequence[str]) -> int:
    """Run the command with this very interpreter; stdout is kept for what the ledger says."""
    out = None if words[0] == "ledger" else sys.stderr
    command = [sys.executable, "-m", "loadtest.cli", *words]
    return subprocess.run(command, stdout=out, check=False).returncode


def measure(asked: argparse.Namespace, call: Call = viralload) -> None:
    """Every run and prediction, in the order that makes them predictions.

    Raises:
        FailedError: a run failed.
    """
    least, *larger = sorted(set(asked.servers))
    for repeat in range(asked.repeats):
        _run(asked, least, f"r{least}-{repeat}", call)
        predict(sorted(path.parent for path in asked.out.glob(f"*-r{least}-*/run.json")))
    for servers in larger:
        _run(asked, servers, f"r{servers}", call)
    _must(call, ["ledger", "--out", str(asked.out), "--json"], (0,))


def predict(folders: Sequence[Path]) -> None:
    """Write down what these runs predict, beside them.

    `viralload capacity` does so where there is a block figure, and of stubs there is none.

    Raises:
        EvidenceError: They bear no estimate.
    """
    runs = [columns.read(RunFolder(folder)) for folder in folders]
    root = folders[0].parent
    path = root / FILE_NAME
    seen = [
        measure_goodput(run, own_slo(run.manifest), servers_in_use(run.manifest)) for run in runs
    ]
    ledger_verb.write(path, seen, scoring.record_of(path, runs[0].manifest, root))


def _run(asked: argparse.Namespace, servers: int, label: str, call: Call) -> None:
    words = ["run", "steady", "--model", asked.model, "--peak", asked.peak]
    words += ["--set", f"replicas={servers}", "--label", label, "--out", str(asked.out)]
    words += [word for setting in asked.set for word in ("--set", setting)]
    _must(call, words, SPOKEN)


def _must(call: Call, words: Sequence[str], fine: tuple[int, ...]) -> None:
    code = call(words)
    if code not in fine:
        raise FailedError(f"viralload {' '.join(words)} ended with {code}; its reason is above")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ledger",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder for runs and ledger")
    parser.add_argument("--model", default="stub", help="of the server (stub)")
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4, 8], help="replicas")
    parser.add_argument("--repeats", type=int, default=2, help="runs of the smallest size (2)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="of the server, as in run"
    )
    parser.add_argument("--peak", default="1.3x", help="of every run, of its own capacity (1.3x)")
    asked = parser.parse_args(argv)
    if min(asked.servers) < 1 or asked.repeats < 1:
        parser.error("--servers and --repeats: expected numbers from 1 on")
    if any(asked.out.glob("*/run.json")):
        parser.error(f"--out: {asked.out} holds runs already; name a new folder")
    try:
        measure(asked)
    except (FailedError, EvidenceError) as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
