"""How many requests a second a generator process can send on this machine: a quick estimate.

    python -m loadtest.generator.self_test job.json IMAGES      prints CPU seconds a request

It makes, sends, checks and records requests for MEASURED_S against a null server on loopback, in
the same process, and counts the CPU time of both. What an open loop sends on time is taken as SHARE
of what would fill a core: on two shared cores a process kept 1,745/s of 100 KB (0.39 ms each: 0.67
of a core) with a p99 lateness of 0.5 ms, and 1,903/s (0.73) with 16 ms, by `benchmarks.loadgen` and
in real time (`loadtest.system.scheduling.come_first`). That is a rule of thumb, so what comes of it
is a warning and never refuses a run; whether a run was on time is told by its lateness.
"""

import io
import math
import socket
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image

from loadtest.plan.job import Job, decode
from loadtest.system.child_environment import environ, python

MEASURED_S = 0.3
PATIENCE_S = 15.0  # for the whole self-test
SHARE = 0.5
AT_ONCE = 16
NOT_ASKED_BELOW = 50.0  # requests/s a process: any machine sends them


def busiest_second(times_s: npt.NDArray[np.float64]) -> int:
    """The most arrivals between two whole seconds."""
    return int(np.unique(np.floor(times_s), return_counts=True)[1].max())


def warning(
    job_path: Path, times_s: npt.NDArray[np.float64], images: float, processes: int, cores: int
) -> str | None:
    """What the self-test says against sending this schedule from here; None: nothing.

    Args:
        job_path: the run's job.json.
        times_s: when each request is due, in any order; people's, of a server that takes no time.
        images: of a request, on average.
        processes: that will generate the load.
        cores: that they may use.
    """
    busiest = busiest_second(times_s)
    if busiest <= NOT_ASKED_BELOW * processes:
        return None
    cpu_s = cpu_s_per_request(job_path, max(1, round(images)))
    return None if cpu_s is None else advice(busiest, cpu_s, processes, cores)


def warning_of_share(
    job_path: Path, times_s: npt.NDArray[np.float64], images: float, share: int, shares: int
) -> str | None:
    """The same for one worker of a crew, whose share is every `shares`-th request from `share` on.

    The remedy is more workers, which each machine can start for the cores that it has.
    """
    own_s = times_s[share::shares]
    if not own_s.size or (busiest := busiest_second(own_s)) <= NOT_ASKED_BELOW:
        return None
    cpu_s = cpu_s_per_request(job_path, max(1, round(images)))
    if cpu_s is None or busiest <= (each := SHARE / cpu_s):
        return None
    needed = math.ceil(shares * busiest / each)
    return (
        f"{_beyond(busiest, each, 1, cpu_s)}: share the run among {needed} workers such as this, "
        "each on a core of its own (--expect-workers), or lower --peak"
    )


def cpu_s_per_request(job_path: Path, images: int) -> float | None:
    """CPU seconds a request costs a generator here, measured in a process of its own.

    None if the self-test did not work out: it is a courtesy, no reason to stop a run.
    """
    command = python("loadtest.generator.self_test", str(job_path), str(images))
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PATIENCE_S, check=True, env=environ()
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def advice(busiest: int, cpu_s: float, processes: int, cores: int) -> str | None:
    """What to do if the busiest second is beyond this machine, in words; None if it is not."""
    each = SHARE / cpu_s
    if busiest <= each * processes:
        return None
    needed = math.ceil(busiest / each)
    said = _beyond(busiest, each, processes, cpu_s)
    if needed <= cores:
        return f"{said}: give --processes {needed}, or lower --peak"
    return f"{said}: lower --peak, or use a machine of more than {cores} cores and --processes"


def _beyond(busiest: int, each: float, processes: int, cpu_s: float) -> str:
    return (
        f"the busiest second of the schedule asks for {busiest:,} requests, and "
        f"{processes} generator process{'es' if processes > 1 else ''} can send about "
        f"{each * processes:,.0f}/s here (an estimate from a self-test of {MEASURED_S:g} s: "
        f"{cpu_s * 1e3:.2g} ms of CPU a request)"
    )


def measure(job: Job, images: int) -> float:
    """CPU seconds a request, of client and null server together."""
    import gevent.pool
    import gevent.server

    from loadtest.client.image_client import ImageClient
    from loadtest.generator.recorder import Recorder
    from loadtest.generator.sender import Sender
    from profiles.record.json_lines import LineWriter

    answer = _answer(job, images)

    def serve(connection: socket.socket, _address: object) -> None:
        left = b""
        while block := connection.recv(1 << 16):
            left += block
            while (end := _request_end(left)) is not None:
                left = left[end:]
                connection.sendall(answer)

    server = gevent.server.StreamServer(("127.0.0.1", 0), serve)
    server.start()
    client = ImageClient(f"http://127.0.0.1:{server.server_port}/v1/images/generations", 5.0)
    with TemporaryDirectory() as folder:
        lines = LineWriter(Path(folder) / "requests-self-test.jsonl")
        sender = Sender(job, client, Recorder(job, lines, time.monotonic))
        sent = 0

        def ask(seq: int) -> None:
            record, _ = sender.send(seq, 0.0, images)
            if record.error:
                raise RuntimeError(record.error)

        pool = gevent.pool.Pool(AT_ONCE)
        for seq in range(AT_ONCE):  # connections, threads and caches
            pool.spawn(ask, seq)
        pool.join()
        until_s, cpu_s = time.monotonic() + MEASURED_S, time.process_time()
        while time.monotonic() < until_s:
            pool.spawn(ask, AT_ONCE + sent)
            sent += 1
        pool.join()
        cpu_s = time.process_time() - cpu_s
        lines.close()
    client.close()
    server.stop()
    return cpu_s / sent


def _answer(job: Job, images: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((job.width, job.height), 40).convert("RGB").save(file, "JPEG", quality=80)
    item = b'{"b64_json":"%b"}' % b64encode(file.getvalue())
    body = b'{"created":0,"data":[%b]}' % b",".join([item] * images)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _request_end(data: bytes) -> int | None:
    """Where the first request in `data` ends; None if it is not whole yet."""
    head, found, _ = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    end = len(head) + 4 + length
    return end if len(data) >= end else None


if __name__ == "__main__":
    told = decode(Path(sys.argv[1]).read_bytes())
    sys.stdout.write(f"{measure(told, int(sys.argv[2]))!r}\n")
