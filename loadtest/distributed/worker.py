"""`viralload worker`: plays a share of a run that another machine drives.

It fetches job and schedule from the master, reads how far the clocks are apart, and starts the
same load generator that plays a local run, on a run folder of its own. This process is one more
reader of that folder: it sends what comes to the master, a chunk at a time, and leaves the sending
of requests to the generator. The job's zero is shifted by the clocks' offset, so that the
generator's instants are on the run's clock to begin with.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from loadtest.client.address import Address, parse
from loadtest.client.credentials import Credentials, in_the_clear
from loadtest.client.target import ask_models
from loadtest.distributed import protocol
from loadtest.distributed.allowed_targets import check_target
from loadtest.distributed.clock_offset import Reading, read_offset
from loadtest.distributed.handshake import TOKEN_ENV, Meeting, nonce
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.generator import self_test
from loadtest.plan.job import Job, decode, encode
from loadtest.system import open_files
from loadtest.system.child_environment import environ, python
from loadtest.system.processes import Child, adopt_orphans, kill_descendants
from profiles.record.folder import PRIVATE, RunFolder

LOOK_S = 0.25
SAY_EVERY_S = 10.0
MASTER_SILENT_S = 10.0
OVER_PATIENCE_S = 30.0


def work(
    host: str,
    port: int,
    processes: int,
    wait_s: float,
    credentials: Credentials,
    console: Console,
    target: Address | None = None,
) -> int:
    """Play shares of the run of the master at that address; the exit code.

    Args:
        host: the master's.
        port: that its Locust listens on.
        processes: so many shares, each by a process of its own.
        wait_s: for a master that is not there yet.
        credentials: what opens the target. The master has no say in it, or it could have any
            secret of this machine sent to a server that it names as well.
        console: for progress.
        target: the only server that may be loaded; None: the one that the master names.

    Raises:
        ConfigurationError: the master refuses, or cannot prove that it knows the run's token; or
            the target is not the one that is meant, or cannot be reached from here.
        ViralloadError: no master came, it was lost, or the generator failed.
    """
    if processes > 1:
        command = python("loadtest.cli", "worker", told_address(host, port))
        command += ["--wait", f"{wait_s:g}s"]
        command += ["--host", target.plain] if target is not None else []
        env = {**environ(), **credentials.environment}
        started = [subprocess.Popen(command, env=env) for _ in range(processes)]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the workers have it from the terminal
        signal.signal(signal.SIGTERM, lambda *_: _end_all(started))
        return max(abs(process.wait()) for process in started)
    return _Worker(host, port, credentials, console, target).work(wait_s)


def told_address(host: str, port: int) -> str:
    """`HOST:PORT` as `loadtest.cli.options.values.address` reads it: brackets for IPv6 alone."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _end_all(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()


class _Worker:
    """The share in progress."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        console: Console,
        target: Address | None,
    ) -> None:
        self.target = target
        self.token = os.environ.get(TOKEN_ENV, "")
        self.host, self.port = host, port
        self.credentials = credentials
        self.console = console
        self.name = f"worker-{uuid.uuid4().hex}"
        self.stopped = False

    def work(self, wait_s: float) -> int:
        adopt_orphans()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self.channel = protocol.Channel(self.host, self.port, self.name)
        os.umask(PRIVATE)
        scratch = Path(tempfile.mkdtemp(prefix="viralload-worker-"))
        is_kept = False
        try:
            return self._take_part(scratch, wait_s)
        except protocol.MasterLostError as err:
            is_kept = any(scratch.glob("requests-*.jsonl"))
            kept = f"; what this worker recorded is in {scratch}" if is_kept else ""
            raise ViralloadError(f"{err}{kept}") from err
        except OSError as err:
            raise ViralloadError(f"cannot use {scratch}: {err}; see TMPDIR") from err
        finally:
            kill_descendants()
            self.channel.close()
            if not is_kept:
                shutil.rmtree(scratch, ignore_errors=True)

    def _take_part(self, scratch: Path, wait_s: float) -> int:
        meeting, welcome = self._meet(wait_s)
        self._say(f"share {welcome.share} of the run at {self.host}:{self.port}")
        folder = RunFolder(scratch)
        try:
            self._fetch_schedule(folder, welcome.schedule_bytes, meeting.schedule_sha256)
            job = self._own_job(welcome, folder)
            self._check_target(job)
            folder.job_path.write_bytes(encode(job))
            self._check_machine(folder, job, welcome.share)
            child = self._start_generator(folder)
        except (ViralloadError, OSError) as err:
            with contextlib.suppress(ViralloadError):  # what went wrong first is what is told
                self.channel.ask(protocol.Done(fault=str(err)), protocol.Received)
            raise
        try:
            fault = self._ship(folder, f"locust-{welcome.share}", child)
            if fault is None:
                self.channel.ask(protocol.Clock(reading=self._read_clock()), protocol.Received)
            self.channel.ask(protocol.Done(fault=fault), protocol.Received)
            if fault is not None:
                raise ViralloadError(fault)
            self._say("the share is played, recorded and sent")
            self._wait_for_the_end(child)
        finally:
            child.end(patience_s=5.0)
        return 0

    # -- before the load ---------------------------------------------------------------------

    def _meet(self, wait_s: float) -> tuple[Meeting, protocol.Welcome]:
        """Prove that this worker knows the token, and have the master prove it, too.

        Raises:
            ConfigurationError: one of them does not know it.
        """
        own = nonce()
        challenge = self._greet(protocol.hello(socket.gethostname(), own), wait_s)
        meeting = Meeting(
            worker=self.name,
            worker_nonce=own,
            master_nonce=challenge.nonce,
            job_sha256=challenge.job_sha256,
            schedule_sha256=challenge.schedule_sha256,
        )
        prove = protocol.Prove(proof=meeting.proof(self.token, "worker"))
        welcome = self.channel.ask(prove, protocol.Welcome)
        is_known = meeting.proves(self.token, "master", welcome.proof)
        if not is_known or hashlib.sha256(welcome.job).hexdigest() != challenge.job_sha256:
            raise ConfigurationError(
                f"the master at {self.host}:{self.port} does not know the run's token: it is not "
                f"the one that this worker was started for, or {TOKEN_ENV} is another's; nothing "
                "was sent to the target that it names"
            )
        return meeting, welcome

    def _greet(self, hello: protocol.Hello, wait_s: float) -> protocol.Challenge:
        said_s = 0.0

        def tick(waited_s: float) -> None:
            nonlocal said_s
            if self.stopped:
                raise KeyboardInterrupt
            if waited_s >= said_s:
                said_s += SAY_EVERY_S
                self._say(
                    f"waiting for the master at {self.host}:{self.port}, "
                    f"{waited_s:.0f} of {wait_s:.0f} s"
                )

        try:
            return self.channel.ask(hello, protocol.Challenge, wait_s, tick)
        except protocol.MasterLostError as err:
            raise ViralloadError(
                f"no master at {self.host}:{self.port} in {wait_s:.0f} s: is `viralload run "
                "--expect-workers N --master-bind-host ADDRESS` started there, and its port open?"
            ) from err

    def _fetch_schedule(self, folder: RunFolder, schedule_bytes: int, sha256: str) -> None:
        digest, size = hashlib.sha256(), 0
        with folder.schedule_path.open("wb") as file:
            while size < schedule_bytes:
                piece = self.channel.ask(protocol.FetchSchedule(offset=size), protocol.Data).data
                if not piece:
                    break
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        if digest.hexdigest() != sha256:
            raise ViralloadError("the schedule that arrived is not the master's: its hash differs")

    def _own_job(self, welcome: protocol.Welcome, folder: RunFolder) -> Job:
        job = decode(welcome.job)
        reading = self._read_clock()
        self.channel.ask(protocol.Clock(reading=reading), protocol.Received)
        self._say(
            f"the clock is {reading.offset_s:+.6f} s off, give or take {reading.uncertainty_s:.6f}"
        )
        return msgspec.structs.replace(
            job,
            run_dir=str(folder.path),
            clock_zero_monotonic_s=job.clock_zero_monotonic_s - reading.offset_s,
            share=welcome.share,
            worker=self.name,
        )

    def _read_clock(self) -> Reading:
        ask = self.channel.ask
        return read_offset(
            lambda: ask(protocol.TellTime(), protocol.Now).monotonic_s, time.monotonic
        )

    def _check_target(self, job: Job) -> None:
        """Whether the target is one that is meant, and can be reached from here.

        Raises:
            ConfigurationError: this machine's key would go where its user did not send it.
            TargetError: it cannot be reached.
        """
        check_target(
            job.base_url,
            job.path,
            told=self.target,
            has_token=bool(self.token),
            has_secret=bool(self.credentials),
        )
        address = parse(job.base_url + job.path)
        clear = in_the_clear(address, self.credentials)
        if clear is not None:
            self._say(f"warning: {clear}")
        ask_models(address, self.credentials, job.model)

    def _check_machine(self, folder: RunFolder, job: Job, share: int) -> None:
        """Warn where this machine may not send its share in time, or run out of open files."""
        schedule = np.load(folder.schedule_path, mmap_mode="r")
        times_s, images = schedule["t_s"], float(schedule["images"].mean())
        for told in (
            open_files.warning(times_s, job.timeout_s, job.processes, open_files.hard_limit()),
            self_test.warning_of_share(folder.job_path, times_s, images, share, job.processes),
        ):
            if told is not None:
                self._say(f"warning: {told}")

    def _start_generator(self, folder: RunFolder) -> Child:
        locustfile = Path(__file__).parents[1] / "locustfile.py"
        command = python("loadtest.system.own_locust", "-f", str(locustfile), "--worker")
        command += ["--master-host", protocol.zmq_host(self.host), "--master-port", str(self.port)]
        command += ["--exit-code-on-error", "0", "--only-summary", "--loglevel", "WARNING"]
        env = {"VIRALLOAD_JOB": str(folder.job_path), **self.credentials.environment}
        return Child("load generator", command, folder.log_path("locust"), env)

    # -- while it goes -----------------------------------------------------------------------

    def _ship(self, folder: RunFolder, generator: str, child: Child) -> str | None:
        """Send what is recorded until the share is; why it never will be, or None."""
        events = folder.events()
        paths = {
            "requests": folder.requests_path(generator),
            "load": folder.load_path(generator),
        }
        sent = dict.fromkeys(paths, 0)
        is_played, fault = False, None
        while not is_played and fault is None:
            time.sleep(LOOK_S)
            is_played = any(event.kind == "played" for event in events.read())
            code = child.exit_code()
            if code is not None and not is_played:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                fault = f"its load generator {how}: {child.last_words()}"
            if self.stopped:
                fault = "it was stopped by its user"
            for stream, path in paths.items():
                sent[stream], over = self._send_new(stream, path, sent[stream])
                if over and not is_played:
                    fault = "the master ended the run"
        return fault

    def _send_new(self, stream: str, path: Path, offset: int) -> tuple[int, bool]:
        """Send whole lines from `offset` on; how far that is now, and whether the run is over."""
        while True:
            data = whole_lines(path, offset)
            question = protocol.Lines(stream=stream, offset=offset, data=data)
            told = self.channel.ask(question, protocol.Received, MASTER_SILENT_S)
            if not data or told.over:
                return offset, told.over
            offset = told.received

    def _wait_for_the_end(self, child: Child) -> None:
        """Until the master has ended the run: its Locust wants ours until then."""
        sign = protocol.Lines(stream="load", offset=0, data=b"")
        try:
            while child.exit_code() is None and not self.stopped:
                if self.channel.ask(sign, protocol.Received, OVER_PATIENCE_S).over:
                    return
                time.sleep(LOOK_S)
        except protocol.MasterLostError:
            return  # it has everything, and has gone

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopped = True

    def _say(self, text: str) -> None:
        self.console.print(f"worker: {text}", highlight=False, markup=False, soft_wrap=True)


def whole_lines(path: Path, offset: int, most: int = protocol.CHUNK_BYTES) -> bytes:
    """The whole lines of a file that begin at `offset`, at most so many bytes of them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(most)
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]
