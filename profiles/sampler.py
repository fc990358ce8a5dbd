"""The sampler: a process of its own that records GPUs and the machine at a fixed cadence.

    python -m profiles.sampler RUN_DIR --zero CLOCK_ZERO_MONOTONIC_S [--node NAME] [--hz 10]
                               [--no-gpus] [--parent PID]

Writes `gpu-<node>.jsonl` (every cycle) and `host-<node>.jsonl` (twice a second), and what befalls a
GPU to `events.jsonl`. When it is ready it prints one line, {"ready": true, "gpus": n}. It ends,
with everything written and exit code 0, on SIGTERM or SIGINT, or when its parent is gone. Exit
code 1: the records cannot be written.

A process of its own, because calls to the GPU driver take their time and would hold up whoever
shares a Python process with them.
"""

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from profiles.cadence import Cadence
from profiles.host import Host, node_name
from profiles.nvml import GpuError, Nvml, open_gpus
from profiles.run import RunFolder
from profiles.schema import RunEvent

HOST_EVERY_S = 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: list[str] | None = None) -> int:
    """Run the sampler; returns its exit code."""
    # Blocked, and taken where the loop sleeps: nothing is cut off midway, and no signal is missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent_pid = os.getppid()
    arguments = _parser().parse_args(argv)
    parent_pid = arguments.parent or parent_pid
    node = arguments.node or node_name()
    folder = RunFolder(arguments.run_dir)

    def clock() -> float:
        return time.monotonic() - float(arguments.zero)

    def stop_after(seconds: float) -> bool:
        told = signal.sigtimedwait(STOP_SIGNALS, seconds) is not None
        return told or os.getppid() != parent_pid

    nvml: Nvml | None = None
    try:
        if arguments.gpus:
            try:
                nvml = open_gpus(node)
            except GpuError as err:
                sys.stderr.write(f"warning: no GPU readings: {err}\n")
                folder.append_event(
                    RunEvent(t_s=clock(), kind="gpu_unreadable", source=node, detail=str(err))
                )
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not look at it again
        record(folder, node, nvml, Cadence(arguments.hz, clock, stop_after), clock)
    except OSError as err:
        what = err.filename or folder.path
        sys.stderr.write(f"error: cannot write {what}: {err.strerror or err}\n")
        return 1
    finally:
        if nvml is not None:
            nvml.close()
    return 0


def record(
    folder: RunFolder,
    node: str,
    nvml: Nvml | None,
    cadence: Cadence,
    clock: Callable[[], float],
) -> None:
    """Sample at every tick until the cadence ends, then write what is left.

    Raises:
        OSError: a record cannot be written.
    """
    with ExitStack() as stack:
        host = Host(node)
        host_writer = stack.enter_context(closing(folder.host_writer(node)))
        writers = [host_writer]
        if nvml:
            gpu_writer = stack.enter_context(closing(folder.gpu_writer(node)))
            writers.append(gpu_writer)
        ready = {"ready": True, "gpus": len(nvml) if nvml else 0}
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
        sys.stdout.flush()
        host_due_s = clock() + HOST_EVERY_S  # the first reading wants some time behind it
        while (tick := cadence.wait()) is not None:
            if nvml:
                for sample in nvml.sample(clock, tick.due_s):
                    gpu_writer.add(sample)
                for fault in nvml.faults():
                    folder.append_event(
                        RunEvent(t_s=clock(), kind=fault.kind, source=node, detail=fault.detail)
                    )
            if tick.due_s >= host_due_s:
                host_due_s = tick.due_s + HOST_EVERY_S - 1e-6  # k/hz is rounded
                t_s = clock()
                host_writer.add(host.sample(t_s, t_s - tick.due_s))
                for writer in writers:  # also those that nothing was added to
                    writer.flush()


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
        "--parent", type=int, metavar="PID", help="end when this is no longer the parent process"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
