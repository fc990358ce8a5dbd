"""Does a run whose processes die end as it must? `python -m benchmarks.chaos --runs 60 --seed 1`.

Real runs of viralload, of an embedded server, of somebody else's and with `viralload worker`, at
which something is done at a random instant: a process is killed (SIGKILL) or stopped (SIGSTOP, for
some seconds or for good), the user presses Ctrl-C, the disk is full, files may not grow or be
opened. Every run is drawn from the seed and its index: `--seed S --only K` plays run K again.

Each is judged (`benchmarks.chaos_judge`): it ends by itself in bounded time; each scheduled request
is in exactly one outcome; a report can be made of its folder afterwards and says the same; the
verdict and the exit code are right for what was done, and the reason names what was hit and nothing
else; no process, no temporary folder and no shared memory stays behind.

as expected
    all of that
late
    all of that, but this machine was busy: INVALID for lateness alone, where nothing was done to
    make the generator late; or Ray or the workers did not start in their time, which the run says
not hit
    the target was not there, or the run had ended before the instant; judged as if nothing was done
fault
    anything else; `faults` says what

Processes are found by what started them and what they run (`benchmarks.chaos_roles`), and `hit`
says which were. Progress goes to stderr. The last line of stdout is one JSON object.

Exit codes: 0 no fault, 1 a fault, 2 usage.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos_command import NoServerError, Server
from benchmarks.chaos_draw import SERVERS_PARTS, Case, draw
from benchmarks.chaos_judge import Judged, Seen, judge
from benchmarks.chaos_run import play
from benchmarks.options import environment, say

MAX_WORDS = 160
TRIES = 2  # to start a server; a busy machine may keep Ray from it


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """A run, what was seen of it, and the judgement."""

    case: Case
    seen: Seen
    judged: Judged


class Shared:
    """The server of all runs of somebody else's, started when one is wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Server | None = None
        self._count = 0

    def of(self, case: Case) -> Server | None:
        """The server that the case loads; None: its own."""
        if case.setting == "embedded":
            return None
        for tries in range(1, TRIES + 1):
            if self._server is not None:
                break
            self._count += 1
            try:
                self._server = Server(self._folder / f"server-{self._count}")
            except NoServerError as err:
                say(f"{err}")
                if tries == TRIES:
                    raise
        return self._server

    def after(self, case: Case) -> list[str]:
        """A server that was hit is not used again; what it leaves behind."""
        was_hit = case.setting != "embedded" and case.act.target in SERVERS_PARTS
        return self.close() if was_hit else []

    def close(self) -> list[str]:
        """End it; what it leaves behind."""
        server, self._server = self._server, None
        return [] if server is None else server.close()


def play_all(cases: Sequence[Case], folder: Path) -> list[Played]:
    """Each case after the other; what is kept of it lies in a folder of its index.

    Raises:
        NoServerError: Somebody else's server did not start.
    """
    shared, played = Shared(folder), list[Played]()
    try:
        for number, case in enumerate(cases, start=1):
            seen = play(case, folder / str(case.index), shared.of(case))
            seen = msgspec.structs.replace(seen, left=[*seen.left, *shared.after(case)])
            one = Played(case=case, seen=seen, judged=judge(case, seen))
            played.append(one)
            (folder / str(case.index) / "played.json").write_bytes(msgspec.json.encode(one))
            say(f"{number}/{len(cases)} {line(one)}")
    finally:
        for left in shared.close():
            say(f"left behind: {left}")
    return played


def line(played: Played) -> str:
    """A run in one line."""
    case, seen, act = played.case, played.seen, played.case.act
    what = " ".join(word for word in (act.how, act.target) if word)
    when = f"at {act.at_s} s{' of the load' if act.under_load else ''}" if act.target else ""
    stood = "" if act.how != "stop" else f"for {act.for_s or 'good'}"
    amount = "" if act.amount is None else str(act.amount)
    told = seen.told or seen.again
    verdict = told.verdict if told else "no summary"
    words = [f"#{case.index}", case.setting, what, amount, when, stood, "->", str(seen.exit_code)]
    words += [f"{verdict}:", played.judged.is_as, *played.judged.faults]
    return " ".join(word for word in words if word)


def result(played: Sequence[Played]) -> dict[str, Any]:
    """Counts, and every run."""
    classes = Counter(one.judged.is_as for one in played)
    summaries = [one.seen.told or one.seen.again for one in played]
    return {
        "runs": len(played),
        "as_expected": classes["as expected"],
        "late": classes["late"],
        "not_hit": classes["not hit"],
        "faults": classes["fault"],
        "faulty": [line(one) for one in played if one.judged.is_as == "fault"],
        "scheduled": sum(told.scheduled for told in summaries if told is not None),
        "longest_s": max((one.seen.took_s for one in played), default=None),
        "each": [_shown(one) for one in played],
    }


def _shown(played: Played) -> dict[str, Any]:
    """A run as it is printed: process ids with their words cut short."""
    told: dict[str, Any] = msgspec.to_builtins(played)
    for hit in told["seen"]["hit"]:
        hit["words"] = " ".join(hit["words"])[:MAX_WORDS]
    if told["seen"]["told"] is not None:
        del told["seen"]["again"]  # the same, or a fault says where it is not
    return told


def main(argv: list[str] | None = None) -> int:
    """Play, judge and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", type=int, action="append", metavar="K", help="the run of this index alone"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="keeps there, by index, the run folders and what was seen (played.json)",
    )
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs: at least 1")
    if min(options.only or [0]) < 0:
        parser.error("--only: at least 0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended first
    indices = options.only if options.only is not None else range(options.runs)
    cases = [draw(options.seed, index) for index in indices]
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        try:
            played = play_all(cases, (options.out or Path(scratch)).resolve())
        except NoServerError:
            return 1
    told = {"result": result(played), **environment("benchmarks.chaos")}
    print(json.dumps(told))  # noqa: T201
    return 1 if told["result"]["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
