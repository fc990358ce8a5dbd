"""`viralload sample`: the sampler alone, beside any workload, with a live table.

It writes the same records as a run does, to a run folder of its own, until the time is up, the
process it watches is gone, or Ctrl-C.
"""

import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtest.client.target import check_port_free
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.system import environment
from loadtest.system.child_environment import python
from loadtest.system.processes import Child
from profiles import formats
from profiles.devices.host import Host, node_name
from profiles.devices.visible import every_gpu
from profiles.escaping import printable
from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.schema import EndReason, GpuSample, HostSample, RunEvent, RunManifest, TargetInfo
from profiles.summary.sample import SCENARIO, Sampled, summarize_sampled

LOOK_EVERY_S = 0.25
PLAIN_EVERY_S = 5.0
PATIENCE_S = 5.0
SILENT_S = 2.0  # a GPU without a sample for so long is shown as silent
SHOWN_EVENTS = 3
HEADER = ("GPU", "busy", "SM active", "tensor", "DRAM", "memory", "power", "energy", "clock", "°C")


class SampleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line decides."""

    command: list[str]
    out: Path = Path("runs")
    label: str | None = None
    hz: float = 10.0
    gpus: list[str] = []  # UUIDs or their beginnings; empty: all
    pid: int | None = None  # whose process tree counts as ours; the end of it is ours
    for_s: float | None = None  # None: until Ctrl-C
    metrics_port: int | None = None  # on loopback; None: no metrics


def sample(options: SampleOptions, console: Console) -> tuple[RunFolder, Sampled]:
    """Sample until told to stop; the folder, and what it holds.

    Raises:
        ConfigurationError: there is no such process, or no folder can be made.
        ViralloadError: the sampler did not start, or died.
    """
    watched = None
    if options.pid is not None:
        try:
            watched = psutil.Process(options.pid)
        except psutil.NoSuchProcess as err:
            raise ConfigurationError(f"--pid: there is no process {options.pid}; see ps") from err
    if options.metrics_port is not None:
        check_port_free(options.metrics_port, "--metrics-port")
    now = datetime.now(UTC)
    try:
        folder = RunFolder.create(options.out, SCENARIO, options.label, now)
    except RunError as err:
        raise ConfigurationError(str(err)) from err
    zero_s = time.monotonic()
    manifest = _manifest(options, folder, zero_s, now)
    folder.write_manifest(manifest)
    console.print(f"run folder {folder.path}", highlight=False, soft_wrap=True)
    stopped: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _frame: stopped.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    child = Child("sampler", _command(options, folder, zero_s), folder.log_path("sampler"), {})
    try:
        child.first_line(timeout_s=30.0)
        died = _watch(options, watched, folder, child, stopped, console)
    finally:
        child.end(PATIENCE_S)
        for number, action in before.items():
            signal.signal(number, action)
    folder.free_reserve()
    reason = EndReason.SAMPLER_DIED if died else EndReason.COMPLETED
    end_utc = datetime.now(UTC).isoformat(timespec="milliseconds")
    folder.write_manifest(
        msgspec.structs.replace(manifest, end_utc=end_utc, end_reason=reason, end_detail=died)
    )
    if died:
        raise ViralloadError(f"the sampler died ({died}); what it recorded is in {folder.path}")
    return folder, summarize_sampled(read(folder))


def table(
    gpus: Mapping[str, GpuSample],
    hosts: Mapping[str, HostSample],
    first_j: Mapping[str, float],
    events: list[RunEvent],
) -> RenderableType:
    """The live table: a row a GPU, then the machines and the last events. Pure.

    `first_j` is each GPU's counter at its first sample: the energy shown is since then.
    """
    newest_s = max((gpu.t_s for gpu in gpus.values()), default=0.0)
    drawn = Table(*HEADER, box=None, header_style="dim", pad_edge=False)
    for uuid, gpu in gpus.items():
        used = None if gpu.energy_j is None else gpu.energy_j - first_j.get(uuid, gpu.energy_j)
        name = f"{gpu.index}{' MIG' if gpu.parent_uuid else ''}"
        if newest_s - gpu.t_s > SILENT_S:
            drawn.add_row(name, f"silent for {newest_s - gpu.t_s:.0f} s")
            continue
        drawn.add_row(
            name,
            formats.percent(gpu.util_pct),
            formats.percent(gpu.sm_active_pct),
            formats.percent(gpu.tensor_pct),
            formats.percent(gpu.dram_pct),
            formats.data(gpu.mem_used_bytes),
            formats.watts(gpu.power_w),
            formats.joules(used),
            formats.megahertz(gpu.sm_clock_mhz),
            formats.number(gpu.temp_c),
        )
    words = [
        Text(f"{host.node}: {_host(host)}", "dim", no_wrap=True, overflow="ellipsis")
        for host in hosts.values()
    ]
    words += [
        Text(
            printable(f"{event.kind}: {event.detail}"), "yellow", no_wrap=True, overflow="ellipsis"
        )
        for event in events[-SHOWN_EVENTS:]
    ]
    return Group(drawn, *words)


def line(gpus: Mapping[str, GpuSample], hosts: Mapping[str, HostSample]) -> str:
    """The same as one plain line, where there is no terminal. Pure."""
    parts = [
        f"GPU {gpu.index} {formats.percent(gpu.util_pct)} busy {formats.watts(gpu.power_w)} "
        f"{formats.data(gpu.mem_used_bytes)}"
        for gpu in gpus.values()
    ]
    parts += [f"{host.node} {_host(host)}" for host in hosts.values()]
    return "; ".join(parts)


def _host(host: HostSample) -> str:
    return f"CPU {formats.percent(host.cpu_pct)}, {formats.data(host.mem_used_bytes)} memory"


class _Latest:
    """The newest reading of every device; GPM's averages are kept between their seconds."""

    def __init__(self, folder: RunFolder) -> None:
        self._gpu, self._host, self._events = folder.gpu(), folder.host(), folder.events()
        self.gpus: dict[str, GpuSample] = {}
        self.hosts: dict[str, HostSample] = {}
        self.first_j: dict[str, float] = {}
        self.events: list[RunEvent] = []

    def look(self) -> None:
        for one in self._gpu.read():
            if one.energy_j is not None:
                self.first_j.setdefault(one.uuid, one.energy_j)
            last = self.gpus.get(one.uuid)
            if last is not None and one.gpm_span_s is None:
                one = msgspec.structs.replace(
                    one,
                    sm_active_pct=last.sm_active_pct,
                    tensor_pct=last.tensor_pct,
                    dram_pct=last.dram_pct,
                )
            self.gpus[one.uuid] = one
        self.hosts.update((one.node, one) for one in self._host.read())
        self.events += self._events.read()

    def table(self) -> RenderableType:
        return table(self.gpus, self.hosts, self.first_j, self.events)


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or waits to be reaped; another that has its number since is not it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _watch(
    options: SampleOptions,
    watched: psutil.Process | None,
    folder: RunFolder,
    child: Child,
    stopped: list[int],
    console: Console,
) -> str | None:
    """Show the readings until it is time to end; why the sampler died, if it did."""
    latest = _Latest(folder)
    redraws = console.is_terminal and not console.is_dumb_terminal
    live = Live(console=console, transient=True) if redraws else None
    begin_s = shown_s = time.monotonic()
    if live:
        live.start()
    try:
        while not stopped:
            time.sleep(LOOK_EVERY_S)
            latest.look()
            now_s = time.monotonic()
            if child.exit_code() is not None:
                return f"exit code {child.exit_code()}: {child.last_words()}"
            if options.for_s is not None and now_s - begin_s >= options.for_s:
                break
            if watched is not None and has_ended(watched):
                break
            if live:
                live.update(latest.table())
            elif now_s - shown_s >= PLAIN_EVERY_S:
                shown_s = now_s
                console.print(line(latest.gpus, latest.hosts), highlight=False, soft_wrap=True)
    finally:
        if live:
            live.stop()
    return None


def _command(options: SampleOptions, folder: RunFolder, zero_s: float) -> list[str]:
    command = python("profiles.sampler", str(folder.path), "--zero", repr(zero_s))
    command += ["--node", node_name(), "--hz", str(options.hz)]
    for uuid in options.gpus:
        command += ["--gpu", uuid]
    if options.metrics_port is not None:
        command += ["--metrics-port", str(options.metrics_port)]
    return command + (["--root", str(options.pid)] if options.pid is not None else [])


def _manifest(
    options: SampleOptions, folder: RunFolder, zero_s: float, now: datetime
) -> RunManifest:
    commit, dirty = environment.git_state()
    return RunManifest(
        run_id=folder.run_id,
        start_utc=now.isoformat(timespec="milliseconds"),
        clock_zero_monotonic_s=zero_s,
        command=options.command,
        scenario=SCENARIO,
        title="Readings of the hardware alone",
        seed=0,
        git_commit=commit,
        git_dirty=dirty,
        versions=environment.versions(),
        target=TargetInfo(url="", embedded=False),
        slo_latency_s=0.0,
        lateness_bound_s=0.0,
        gpus=every_gpu(node_name()),
        hosts=[Host(node_name()).describe()],
        gpu_price_usd_per_h=0.0,
        gpu_price_basis="no price: nothing was served",
    )
