"""From what the user asked to what each process of a run is told. No process is started here."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from loadtest.client.address import Address, is_loopback, parse
from loadtest.client.credentials import NONE, Credentials
from loadtest.client.model_choice import always_base64
from loadtest.client.response import FORMATS
from loadtest.client.target import FALLBACK_SIZE, Offer, free_port
from loadtest.distributed.gather import Workers
from loadtest.distributed.protocol import zmq_host
from loadtest.errors import ConfigurationError
from loadtest.plan.job import Job
from loadtest.scenario.prompts import PromptMix, load_texts
from loadtest.scenario.scenario import Scenario, parse_size
from loadtest.system import environment
from loadtest.system.child_environment import python
from loadtest.traffic.distributions import quantile
from profiles.devices.host import Host, node_name
from profiles.devices.vendors import other_gpus
from profiles.devices.visible import visible_gpus
from profiles.escaping import printable
from profiles.record.folder import RunFolder
from profiles.requests.request_mix import Mix
from profiles.schema import GpuInfo, RunManifest, TargetInfo


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line decides."""

    scenario_text: str
    scenario: Scenario  # with the command line's changes
    folder: Path  # that the scenario's paths are relative to
    command: list[str]
    out: Path = Path("runs")
    label: str | None = None
    labels: dict[str, str] = {}
    host: str | None = None  # an existing server, without what opens it; None: start one
    credentials: Credentials = NONE  # what opens it
    fields: dict[str, Any] = {}  # of a request's body, beside or in place of ours
    given: tuple[str, ...] = ()  # options of the command line that were given, by their names
    model: str | None = None
    settings: dict[str, Any] = {}  # of the embedded server
    port: int | None = None
    capacity: float | None = None
    capacity_basis: str = "given"
    capacity_mix: Mix | None = None  # what was asked for where it was found; None: not known
    processes: int = 1
    workers: Workers | None = None  # on other machines; then this one generates no load
    web_port: int | None = None
    metrics_port: int | None = None  # of the sampler, on loopback; None: no metrics
    gpu_price_usd_per_h: float
    gpu_price_basis: str
    carbon_g_per_kwh: float | None = None

    @property
    def address(self) -> Address | None:
        """Of the existing server.

        Raises:
            TargetError: --host is no URL.
        """
        return None if self.host is None else parse(self.host)


def server_settings(options: Options, gpus: list[GpuInfo]) -> dict[str, Any] | None:
    """Settings of the server to start; None where an existing one is the target.

    Raises:
        TargetError: --host is no URL.
        ConfigurationError: the scenario would open this machine to its network.
    """
    if options.address is not None:
        return None
    own = options.scenario.server
    if "host" in own and not is_loopback(str(own["host"])) and "host" not in options.settings:
        raise ConfigurationError(
            f"[server] host: {printable(str(own['host']), 100)}: a scenario cannot open this "
            "machine to its network, for scenarios come from others; leave it out, or say it "
            "yourself with --set host=ADDRESS"
        )
    model = options.model or own.get("model")
    chosen: dict[str, Any] = {"model": model or ("sd15" if gpus else "tiny")}
    if model is None and gpus:
        chosen["device"] = "cuda"
    elif model is None:  # said, or a torch built for CUDA would be taken for a GPU that fails
        chosen["device"] = own.get("device", "cpu")
    chosen["port"] = free_port() if options.port is None else options.port
    settings = {**own, **chosen, **options.settings}
    if not is_loopback(str(settings.get("host", "127.0.0.1"))):
        sys.stderr.write(
            f"warning: the server listens on {printable(str(settings['host']), 100)}, where other "
            "machines reach it, and asks for no key\n"
        )
    told = cpu_notice(settings, is_default=model is None, has_gpus=bool(gpus))
    if told is not None:
        sys.stderr.write(f"{told}\n")
    return settings


def cpu_notice(settings: dict[str, Any], *, is_default: bool, has_gpus: bool) -> str | None:
    """What to say of a server that will compute on the CPU; None where nothing need be. Pure.

    Args:
        settings: Of the server.
        is_default: Whether nobody chose the model.
        has_gpus: Whether there are GPUs that can be read.
    """
    name, device = str(settings["model"]), settings.get("device", "auto")
    if has_gpus or name == "stub":
        return None
    if is_default and name == "tiny" and device == "cpu":
        return (
            "no GPU that can be used was found: serving the tiny model on the CPU "
            "(`viralload doctor` looks closer)"
        )
    if device == "auto" and not name.startswith("tiny"):
        return (
            f"warning: no GPU that can be used was found: {name} on the CPU takes minutes an "
            "image; --set device=cpu says that it is meant to, --model tiny is made for CPUs"
        )
    return None


def usable_gpus(options: Options) -> tuple[list[GpuInfo], list[str]]:
    """The GPUs that the target may compute on, and why some cannot be read, with the remedy.

    What cannot be read is warned of at once.
    """
    unread: list[str] = []

    def warn(why: str) -> None:
        unread.append(why)
        sys.stderr.write(f"warning: {why}\n")

    torch = environment.versions().get("torch", "") if options.host is None else None
    gpus = visible_gpus(node_name(), warn=warn) or other_gpus(node_name(), torch, warn=warn)
    return gpus, unread


def first_manifest(
    options: Options,
    folder: RunFolder,
    zero_s: float,
    gpus: list[GpuInfo],
    settings: dict[str, Any] | None,
) -> RunManifest:
    """The manifest as it is before anything runs; `zero_s` is monotonic."""
    scenario = options.scenario
    commit, dirty = environment.git_state()
    address = options.address
    url = address.shown if address is not None else f"http://127.0.0.1:{(settings or {})['port']}"
    target = TargetInfo(
        url=url, embedded=settings is not None, model=options.model, settings=settings
    )
    return RunManifest(
        run_id=folder.run_id,
        start_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        clock_zero_monotonic_s=zero_s,
        command=options.command,
        scenario=scenario.name,
        title=scenario.title,
        notes=list(scenario.notes),
        seed=scenario.seed,
        labels=options.labels,
        git_commit=commit,
        git_dirty=dirty,
        versions=environment.versions(),
        target=target,
        slo_latency_s=float(scenario.slo.latency),
        thresholds={metric: list(each) for metric, each in scenario.own_thresholds.items()},
        default_thresholds={m: list(each) for m, each in scenario.default_thresholds.items()},
        lateness_bound_s=float(scenario.validity.lateness_p99),
        loop_stall_bound_s=float(scenario.validity.loop_stall),
        loop_cpu_bound_pct=100 * scenario.validity.loop_cpu,
        loop_cpu_bound_for_s=float(scenario.validity.loop_cpu_for),
        local_error_bound=scenario.validity.local_errors,
        gpus=gpus
        if address is None or address.is_loopback
        else [],  # else they are not the target's
        hosts=[Host(node_name()).describe()],
        gpu_price_usd_per_h=options.gpu_price_usd_per_h,
        gpu_price_basis=options.gpu_price_basis,
        carbon_g_per_kwh=options.carbon_g_per_kwh,
    )


def job_for(options: Options, manifest: RunManifest, folder: RunFolder, offer: Offer) -> Job:
    """What the generators are told, now that the target has told what it offers."""
    scenario = options.scenario
    request, load, session = scenario.request, scenario.load, scenario.session
    width, height = parse_size(request.size or offer.default_size or FALLBACK_SIZE)
    address = options.address or parse(manifest.target.url)
    made_as = options.fields.get("output_format", request.output_format)
    return Job(
        run_dir=str(folder.path.resolve()),
        clock_zero_monotonic_s=manifest.clock_zero_monotonic_s,
        base_url=address.origin,
        path=offer.path,
        fields=options.fields,
        model=offer.model,
        width=width,
        height=height,
        steps=request.steps,
        guidance_scale=request.guidance_scale,
        negative_prompt=request.negative_prompt,
        output_format=made_as if made_as in FORMATS else None,
        response_format=None if always_base64(offer.model) else "b64_json",
        prompts=load_texts(request.prompts, options.folder),
        prompt_mix=request.prompts if isinstance(request.prompts, PromptMix) else PromptMix(),
        seed=scenario.seed,
        image_bytes=int((manifest.target.settings or {}).get("stub_image_bytes") or 0),
        timeout_s=float(request.timeout),
        drain_s=_drain_s(scenario) if load.drain is None else float(load.drain),
        processes=options.workers.count if options.workers else options.processes,
        is_remote=options.workers is not None,
        retry=None if session is None else session.retry,
        tells_priority=offer.is_viralload,
    )


def _drain_s(scenario: Scenario) -> float:
    """The timeout; with people, as long as nearly all of them would wait for their image."""
    session, timeout_s = scenario.session, float(scenario.request.timeout)
    if session is None:
        return timeout_s
    if session.patience is None:
        return timeout_s * (1 if session.retry.policy == "none" else session.retry.most_attempts)
    return max(timeout_s, quantile(session.patience, 0.99))


def sampler_command(
    folder: RunFolder, manifest: RunManifest, metrics_port: int | None = None
) -> list[str]:
    """The sampler, for the GPUs of the target or for the host alone."""
    command = python("profiles.sampler", str(folder.path))
    command += ["--zero", repr(manifest.clock_zero_monotonic_s), "--node", node_name()]
    command += ["--parent", str(os.getpid())]
    if metrics_port is not None:
        command += ["--metrics-port", str(metrics_port)]
    return command if manifest.gpus else [*command, "--no-gpus"]


def locust_command(job: Job, web_port: int | None, workers: Workers | None = None) -> list[str]:
    """Locust with one dispatcher a process; it listens beyond loopback for workers only."""
    locustfile = Path(__file__).parents[1] / "locustfile.py"
    command = python("loadtest.system.own_locust", "-f", str(locustfile), "--host", job.base_url)
    command += ["--users", str(job.processes), "--spawn-rate", str(job.processes)]
    command += ["--stop-timeout", str(int(job.drain_s + job.timeout_s) + 10)]
    command += ["--exit-code-on-error", "0", "--only-summary", "--loglevel", "WARNING"]
    if web_port is None:
        command += ["--headless"]
    else:
        command += ["--autostart", "--autoquit", "0"]
        command += ["--web-host", "127.0.0.1", "--web-port", str(web_port)]
    if workers is not None:
        command += ["--master", "--expect-workers", str(workers.count)]
        command += ["--master-bind-host", zmq_host(workers.host)]
        command += ["--master-bind-port", str(workers.port)]
    elif job.processes > 1:
        port = str(free_port())
        command += ["--processes", str(job.processes), "--master-bind-host", "127.0.0.1"]
        command += ["--master-bind-port", port, "--master-port", port]
    return command
