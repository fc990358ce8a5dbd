"""The sampler: a process of its own that records GPUs and the machine at a fixed cadence.

    python -m profiles.sampler RUN_DIR --zero CLOCK_ZERO_MONOTONIC_S [--node NAME] [--hz 10]
                               [--no-gpus] [--gpu UUID] [--metrics-port PORT] [--parent PID]
                               [--root PID]

Writes `gpu-<node>.jsonl` (every cycle), `host-<node>.jsonl` (twice a second),
`process-<node>.jsonl` (once a second), `state-<node>.jsonl` (before and after), its account of
itself to `sampler-<node>.jsonl`, and what befalls a GPU to `events.jsonl`. When it is ready it
prints one line, {"ready": true, "gpus": n}, with the metrics' URL if they are asked for. It ends,
with everything written and exit code 0, on SIGTERM or SIGINT, or when its parent is gone. Exit code
1: the records cannot be written, or the metrics' port cannot be had.

A process of its own, because calls to the GPU driver take their time and would hold up whoever
shares a Python process with them.
"""

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import msgspec

from profiles import edge
from profiles.devices.discover import open_readers
from profiles.devices.host import Host, node_name
from profiles.devices.reader import Reader
from profiles.record.folder import RunFolder
from profiles.record.json_lines import LineWriter
from profiles.sampler.account import Account
from profiles.sampler.cadence import Cadence, Tick
from profiles.sampler.exporter import Exporter
from profiles.sampler.metrics import Sample
from profiles.schema import RunEvent

HOST_EVERY_S = 0.5
PROCESSES_EVERY_S = 1.0
ACCOUNT_EVERY_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: list[str] | None = None) -> int:
    """Run the sampler; returns its exit code."""
    # Blocked, and taken where the loop sleeps: nothing is cut off midway, and no signal is missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent_pid = os.getppid()
    arguments = _parser().parse_args(argv)
    parent_pid = arguments.parent or parent_pid
    arguments.root = arguments.root or parent_pid
    node = arguments.node or node_name()
    folder = RunFolder(arguments.run_dir)

    def clock() -> float:
        return time.monotonic() - float(arguments.zero)

    def stop_after(seconds: float) -> bool:
        # Interrupted (SIGCONT, a debugger, a freezer) after its time was up, CPython 3.11 to 3.13
        # returns a siginfo that nobody has filled in, where it should return None.
        told = signal.sigtimedwait(STOP_SIGNALS, seconds)
        return (told is not None and told.si_signo in STOP_SIGNALS) or os.getppid() != parent_pid

    def event(kind: str, detail: str) -> None:
        folder.append_event(RunEvent(t_s=clock(), kind=kind, source=node, detail=detail))

    _go_first()
    readers: list[Reader] = []
    exporter: Exporter | None = None
    try:
        if arguments.metrics_port is not None:
            try:
                exporter = Exporter(arguments.metrics_port, clock, 2.5 / arguments.hz)
            except OSError as err:
                where, why = f"127.0.0.1:{arguments.metrics_port}", err.strerror or err
                sys.stderr.write(
                    f"error: no metrics at {where}: {why}; name another --metrics-port\n"
                )
                return 1
        if arguments.gpus:
            readers += open_readers(node, arguments.gpu, arguments.root, event)
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not look at it again
        cadence = Cadence(arguments.hz, clock, stop_after)
        record(folder, node, readers, cadence, clock, exporter)
    except OSError as err:
        what = err.filename or folder.path
        return _fail(f"cannot write {what}: {err.strerror or err}")
    except Exception as err:  # noqa: BLE001 - the edge: there is nobody above
        edge.keep(err, folder.log_path("sampler"))
        return _fail(edge.in_words(err))
    finally:
        for reader in readers:
            reader.close()
        if exporter is not None:
            exporter.close()
    return 0


def _fail(words: str) -> int:
    with suppress(OSError):  # its log may lie on the disk that is full
        sys.stderr.write(f"error: {words}\n")
        sys.stderr.flush()
    return 1


def record(
    folder: RunFolder,
    node: str,
    readers: Sequence[Reader],
    cadence: Cadence,
    clock: Callable[[], float],
    exporter: Exporter | None = None,
) -> None:
    """Sample at every tick until the cadence ends, then write what is left.

    Raises:
        OSError: a record cannot be written.
    """
    with ExitStack() as stack:

        def opened(writer: LineWriter) -> LineWriter:
            return stack.enter_context(closing(writer))

        hosts, account_lines = opened(folder.host_writer(node)), opened(folder.sampler_writer(node))
        gpus: LineWriter | None = None
        writers = [hosts, account_lines]
        if readers:
            gpus, processes = opened(folder.gpu_writer(node)), opened(folder.process_writer(node))
            states = opened(folder.state_writer(node))
            writers += [gpus, processes, states]
        account = Account(node, cadence.hz)
        take = exporter.take if exporter else _no_exporter

        def look(when: str) -> None:
            """Before and after: states, and what befell."""
            for reader in readers:
                for state in reader.states(clock, when):
                    states.add(state)
                _note_faults(folder, node, reader, clock)

        def tell() -> None:
            calls = {name: cost for reader in readers for name, cost in reader.calls().items()}
            line = account.tell(clock(), time.process_time(), calls)
            account_lines.add(line)
            take(line)

        host = Host(node)
        if host.unreadable is not None:
            folder.append_event(
                RunEvent(t_s=clock(), kind="host_unreadable", source=node, detail=host.unreadable)
            )
        for reader in readers:
            reader.watch_xids(clock)
            for info in reader.describe():
                take(info)
        look("begin")
        ready: dict[str, object] = {"ready": True, "gpus": sum(map(len, readers))}
        if exporter is not None:
            ready["metrics"] = exporter.url
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
        sys.stdout.flush()
        tell()
        host_due_s = clock() + HOST_EVERY_S  # the first reading wants some time behind it
        processes_due_s = clock()
        account_due_s = clock() + ACCOUNT_EVERY_S
        while (tick := cadence.wait()) is not None:
            for reader in readers:
                assert gpus is not None
                for sample in reader.sample(clock, tick.due_s):
                    gpus.add(sample)
                    take(sample)
                _note_faults(folder, node, reader, clock)
            if tick.due_s >= host_due_s:
                host_due_s = _next(tick, HOST_EVERY_S)
                t_s = clock()
                host_sample = host.sample(t_s, t_s - tick.due_s)
                hosts.add(host_sample)
                take(host_sample)
                for writer in writers:  # also those that nothing was added to
                    writer.flush()
            if readers and tick.due_s >= processes_due_s:
                processes_due_s = _next(tick, PROCESSES_EVERY_S)
                for reader in readers:
                    for process in reader.processes(clock):
                        processes.add(process)
            account.cycle(tick, clock() - tick.due_s - tick.lag_s)
            if tick.due_s >= account_due_s:
                account_due_s = _next(tick, ACCOUNT_EVERY_S)
                tell()
        look("end")
        tell()


def _no_exporter(_sample: Sample) -> None:
    """Take nothing."""


def _go_first() -> None:
    """Run ahead of busy processes, where this user may ask for it: each cycle's work is short.

    On two cores, one of them busy, the 99th percentile of the lateness of waking up fell from 2.4
    to 8 ms down to 0.1 ms; nice values did not help (it was measured once, Linux 6.18).
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _next(tick: Tick, every_s: float) -> float:
    return tick.due_s + every_s - 1e-6  # k/hz is rounded


def _note_faults(folder: RunFolder, node: str, reader: Reader, clock: Callable[[], float]) -> None:
    for fault in reader.faults():
        folder.append_event(
            RunEvent(
                t_s=clock() if fault.t_s is None else fault.t_s,
                kind=fault.kind,
                source=node,
                detail=fault.detail,
                gpu_uuid=fault.uuid,
                code=fault.code,
            )
        )


def _hz(text: str) -> float:
    try:
        hz = float(text)
    except ValueError:
        hz = 0.0
    if not 0.1 <= hz <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate from 0.1 to 100 a second")
    return hz


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="profiles.sampler", description="Record GPUs and host.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run folder")
    parser.add_argument(
        "--zero",
        type=float,
        required=True,
        metavar="S",
        help="CLOCK_MONOTONIC at the zero of the run's clock, in seconds",
    )
    parser.add_argument("--node", help="this machine's name in the records (its host name)")
    parser.add_argument(
        "--hz", type=_hz, default=10.0, help="GPU samples a second, 0.1 to 100 (10)"
    )
    parser.add_argument(
        "--gpus",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to record GPUs (yes)",
    )
    parser.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="UUID",
        help="only the GPU whose UUID begins so; may be repeated (all)",
    )
    parser.add_argument(
        "--root",
        type=int,
        metavar="PID",
        help="the process whose descendants count as the run's own (the parent)",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="tell Prometheus the readings on this port of loopback; 0 for any (none)",
    )
    parser.add_argument(
        "--parent", type=int, metavar="PID", help="end when this is no longer the parent process"
    )
    return parser
