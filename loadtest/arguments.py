"""The command line's grammar; what its words mean is in `loadtest.overrides`."""

import argparse
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from loadtest.arrivals import Word
from loadtest.scenario import builtin_names
from loadtest.trace import KNOWN
from loadtest.units import parse_duration
from profiles.factors import SPARE
from profiles.queueing import Routing

DEFAULT_SCENARIO = "ghibli-hour"
MASTER_PORT = 5557  # Locust's
TOKEN_ENV = "VIRALLOAD_TOKEN"


def parser() -> argparse.ArgumentParser:
    """Options of every verb; the verb's name is in `verb`."""
    whole = argparse.ArgumentParser(
        prog="viralload",
        description="Replays the day an image service goes viral, and says what the GPUs did.",
        epilog="exit codes: 0 pass, 1 error, 2 usage or configuration, 3 run invalid, "
        "99 threshold failed, 130 interrupted",
    )
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="replay a scenario against a server and report")
    _add_scenario(run)
    _add_server(run)
    run.add_argument("--host", metavar="URL", help="load this server instead of starting one")
    _add_key(run)
    run.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where run folders go (default: %(default)s)",
    )
    run.add_argument("--label", help="put into the run folder's name")
    run.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="noted in the manifest; may be repeated",
    )
    run.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="load generator processes (default: 1)",
    )
    _add_workers(run)
    run.add_argument(
        "--web",
        type=_port,
        nargs="?",
        const=8089,
        metavar="PORT",
        help="Locust's web UI on loopback (port 8089 unless told)",
    )
    run.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="tell Prometheus the GPUs' and the host's readings, on loopback",
    )
    run.add_argument("--gpu-price", type=_positive, metavar="USD", help="price of a GPU-hour")
    run.add_argument(
        "--carbon",
        type=_positive,
        metavar="G_PER_KWH",
        help="of your electricity, g CO2e/kWh: tells carbon an image",
    )
    run.add_argument("--json", action="store_true", help="print summary.json on stdout")

    find = verbs.add_parser("find", help="find the highest rate that still meets an SLO")
    _add_find(find)

    plan = verbs.add_parser("plan", help="draw what a scenario or trace would send")
    _add_scenario(plan)
    plan.add_argument("--gpus", type=_count, metavar="N", help="GPUs of this node")

    report = verbs.add_parser("report", help="make a run's summary and report again")
    report.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    report.add_argument("--json", action="store_true", help="print summary.json on stdout")

    serve = verbs.add_parser("serve", help="start the image server alone, on loopback")
    _add_server(serve)
    serve.add_argument(
        "--host",
        metavar="ADDRESS",
        help="address to bind (default 127.0.0.1; 0.0.0.0 opens it to the network)",
    )

    _add_sample(verbs.add_parser("sample", help="record GPUs and host alone, beside any workload"))

    doctor = verbs.add_parser(
        "doctor", help="measure this machine's limits and check what a run stands on"
    )
    doctor.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what to measure (default: every GPU that torch can use, else the CPU)",
    )
    doctor.add_argument(
        "--threads", type=_count, metavar="N", help="CPU threads (default: all cores but one)"
    )
    doctor.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where run folders would go (default: %(default)s)",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")

    worker = verbs.add_parser(
        "worker",
        help="play a share of a run that another machine drives",
        description="Plays a share of a run started elsewhere with --expect-workers. This machine "
        "must reach both the master and the server under load; it needs the same version of "
        "viralload and shares no files. The API key, where the server asks for one, is read from "
        f"this machine's own environment, and so is the run's token ({TOKEN_ENV}).",
    )
    worker.add_argument(
        "master", type=_address, metavar="HOST[:PORT]", help=f"of the master (port {MASTER_PORT})"
    )
    worker.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="play so many shares, each in a process of its own (default: 1)",
    )
    _add_key(worker)
    worker.add_argument(
        "--wait",
        default="10min",
        metavar="DURATION",
        help="for a master that is not there yet (default: %(default)s)",
    )
    _add_capacity(
        verbs.add_parser("capacity", help="what runs say of a block of GPUs, and what if")
    )
    ledger = verbs.add_parser("ledger", help="score what was predicted by the runs that came in")
    _add_ledger(ledger)
    ledger.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where the run folders are (default: %(default)s)",
    )
    ledger.add_argument("--json", action="store_true", help="print the scores as JSON")

    fleet = verbs.add_parser("fleet", help="simulate a scenario on a block of GPUs")
    _add_scenario(fleet)
    _add_fleet(fleet)

    verbs.add_parser("scenarios", help="list the built-in scenarios")
    return whole


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario",
        nargs="?",
        default="steady",
        metavar="SCENARIO",
        help="whose requests are sent; its curve is not played (default: %(default)s)",
    )
    parser.add_argument(
        "--slo",
        metavar="EXPRESSION",
        help='of latency, such as "p(95) < 2s" (default: the scenario\'s own latency threshold)',
    )
    parser.add_argument(
        "--precision",
        default="3%",
        metavar="SHARE",
        help="half-width of the 95 %% interval to reach, of the rate (default: 3%%)",
    )
    parser.add_argument(
        "--time",
        default="15min",
        metavar="DURATION",
        help="for all of it, starting a server included (default: %(default)s)",
    )
    _add_server(parser)
    parser.add_argument("--host", metavar="URL", help="load this server instead of starting one")
    _add_key(parser)
    parser.add_argument("--seed", type=_whole, metavar="N", help="of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="of the images asked for")
    parser.add_argument("--steps", type=_count, metavar="N", help="denoising steps asked for")
    parser.add_argument("--timeout", metavar="DURATION", help="how long a request is waited for")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where run folders go (default: %(default)s)",
    )
    parser.add_argument("--label", help="put into the run folder's name")
    parser.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="load generator processes (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print find.json on stdout")


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the API key (default: %(default)s)",
    )


def _add_workers(run: argparse.ArgumentParser) -> None:
    workers = run.add_argument_group(
        "workers on other machines",
        "Each plays a share of the schedule: `viralload worker HOST` there. What Locust's master "
        "listens on is neither encrypted nor authenticated: whoever reaches the port can see the "
        "scenario, end the run and forge its record. Keep it on loopback behind an SSH tunnel (ssh "
        f"-L {MASTER_PORT}:127.0.0.1:{MASTER_PORT} MASTER), or bind it to a private network's "
        "address.",
    )
    workers.add_argument(
        "--expect-workers",
        type=_count,
        metavar="N",
        help="so many workers play the load, none of it this machine",
    )
    workers.add_argument(
        "--expect-workers-max-wait",
        default="5min",
        metavar="DURATION",
        help="give up if they have not come by then (default: %(default)s)",
    )
    workers.add_argument(
        "--master-bind-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address the workers connect to (default: %(default)s)",
    )
    workers.add_argument(
        "--master-bind-port",
        type=_port,
        default=MASTER_PORT,
        metavar="PORT",
        help="and its port (default: %(default)s)",
    )


def _add_capacity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="a run folder; several that repeat it"
    )
    parser.add_argument(
        "--published", metavar="NAME", help="a published rate in place of runs, such as sdxl-h200"
    )
    parser.add_argument(
        "--blocks",
        type=_positive,
        default=1.0,
        metavar="X",
        help="blocks of 100,000 GPUs (default: 1)",
    )
    parser.add_argument(
        "--slo", metavar="LIMIT", help='such as "p(95) < 30s"; the records are counted afresh'
    )
    parser.add_argument(
        "--cell", type=_count, metavar="N", help="GPUs of a cell (default: as many as were tested)"
    )
    parser.add_argument(
        "--routing",
        choices=get_args(Routing),
        default="random",
        help="between cells (default: %(default)s)",
    )
    parser.add_argument(
        "--spare",
        type=_share,
        default=SPARE,
        metavar="SHARE",
        help="of the block held back (default: %(default)s)",
    )
    parser.add_argument(
        "--ceiling", type=Path, metavar="RUN", help="a run of stub: what the shared layer carries"
    )
    parser.add_argument("--price", metavar="USD", help="of a GPU-hour")
    parser.add_argument("--seller", metavar="NAME", help="whose price: contract, market, ...")
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="in place of profiles/prices.toml"
    )
    parser.add_argument(
        "--subscribers", type=_share, metavar="SHARE", help="of the event's users who pay"
    )
    parser.add_argument(
        "--weekly-revenue", type=_positive, metavar="USD", help="in-app revenue of a usual week"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="goodput against block size and against the SLO"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with both drawn")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--no-ledger", action="store_true", help="do not write down what this predicts"
    )
    _add_ledger(parser)


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ledger", type=Path, metavar="FILE", help="default: ledger.jsonl beside the runs"
    )


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario",
        nargs="?",
        default=DEFAULT_SCENARIO,
        metavar="SCENARIO",
        help=f"built-in ({', '.join(builtin_names())}), a .toml file, or a trace "
        "in .csv or .jsonl (default: %(default)s)",
    )
    parser.add_argument(
        "--peak", metavar="RATE", help='images/s, "1.5x" of the capacity, or "share"'
    )
    parser.add_argument(
        "--capacity",
        metavar="IMAGES_PER_S|FIND_FOLDER",
        help="what --peak 1.5x refers to: a rate, or what `viralload find` found; measured quickly "
        "before the load if not given",
    )
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--compress-to", metavar="DURATION", help='replay in so long, such as "90s"')
    time.add_argument("--compression", type=_positive, metavar="K", help="replay K times as fast")
    time.add_argument("--real-time", action="store_true", help="do not compress time")
    parser.add_argument(
        "--arrivals", choices=get_args(Word), help="how arrivals come around the curve's rate"
    )
    parser.add_argument("--seed", type=_whole, metavar="N", help="of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="of the images asked for")
    parser.add_argument("--steps", type=_count, metavar="N", help="denoising steps asked for")
    parser.add_argument("--timeout", metavar="DURATION", help="how long a request is waited for")
    parser.add_argument(
        "--retry",
        choices=("none", "immediate", "backoff"),
        help="what people do after 429, 503 or a timeout",
    )
    trace = parser.add_argument_group("a trace")
    for column in KNOWN:
        trace.add_argument(f"--{column.replace('_', '-')}-column", metavar="NAME", help="its name")
    trace.add_argument("--sort", action="store_true", help="sort rows that go back in time")
    trace.add_argument(
        "--time-scale", type=_positive, metavar="S", help="seconds in a unit of the time column"
    )
    trace.add_argument(
        "--rate-scale", type=_positive, metavar="X", help="send X times what was recorded"
    )
    trace.add_argument(
        "--jitter", metavar="DURATION", help="spread stamps that come in batches over so long"
    )


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="duration",
        type=_duration,
        metavar="DURATION",
        help='how long, such as "90s" (default: until Ctrl-C)',
    )
    parser.add_argument(
        "--pid",
        type=_count,
        metavar="PID",
        help="end with this process; its memory, and its children's, counts as the workload's",
    )
    parser.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="UUID",
        help="only the GPU whose UUID begins so; may be repeated (default: all)",
    )
    parser.add_argument(
        "--hz", type=_positive, default=10.0, metavar="N", help="samples a second (default: 10)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where run folders go (default: %(default)s)",
    )
    parser.add_argument("--label", help="put into the run folder's name")
    parser.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="tell Prometheus the readings, on loopback",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpus", type=_count, default=100_000, metavar="N", help="of the block (%(default)s)"
    )
    parser.add_argument(
        "--service",
        type=Path,
        required=True,
        metavar="PATH",
        help="service times: a run folder, or a profile such as "
        "profiles/reference/engine-tiny-cpu.json",
    )
    parser.add_argument("--policy", choices=("step", "request", "none"), default="step")
    parser.add_argument(
        "--routing", choices=("two", "random", "round-robin", "central", "least"), default="two"
    )
    parser.add_argument(
        "--max-batch", type=_count, metavar="N", help="images a GPU (default: the most measured)"
    )
    parser.add_argument(
        "--max-queue", type=_whole, default=64, metavar="N", help="waiting a GPU; 0: no bound (64)"
    )
    parser.add_argument(
        "--deadline", metavar="DURATION", help="refuse what is predicted to take longer"
    )
    parser.add_argument(
        "--cell-gpus", type=_count, default=1000, metavar="N", help="behind one router (1000)"
    )
    parser.add_argument(
        "--gpu-spread", type=_share, default=0.0, metavar="S", help="between GPUs, such as 0.08"
    )
    parser.add_argument("--autoscale", action="store_true", help="by Ray Serve's rules")
    parser.add_argument("--failures", action="store_true", help="at Llama 3's rate")
    parser.add_argument(
        "--slo-share",
        type=_share,
        metavar="SHARE",
        help="also search the GPUs that this share within the SLO needs, such as 0.95",
    )
    parser.add_argument(
        "--memory", type=_positive, default=2.0, metavar="GIB", help="at most (%(default)s)"
    )
    parser.add_argument("--time", default="10min", metavar="DURATION", help="at most (%(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fleets"),
        metavar="DIR",
        help="where results go (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print simulated.json on stdout")


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="sd15, sdxl, sd35-medium, flux-schnell, their toy twins tiny, tiny-sdxl, tiny-sd35, "
        "tiny-flux, or stub; with --host, the server's name of it",
    )
    parser.add_argument("--weights", help="random, a diffusers folder, or a hub id")
    parser.add_argument("--policy", choices=("step", "request", "none"))
    parser.add_argument("--replicas", type=_count, metavar="N", help="default: one a GPU")
    parser.add_argument("--port", type=_port, help="of the server that is started")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of the server; may be repeated",
    )


def _positive(text: str) -> float:
    value = _number(text, float)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _duration(text: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from None


def _share(text: str) -> float:
    value = _number(text, float)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, got {text}")
    return value


def _count(text: str) -> int:
    value = int(_number(text, int))
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def _port(text: str) -> int:
    value = int(_number(text, int))
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text}")
    return value


def _address(text: str) -> tuple[str, int]:
    """Host and port of "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT"."""
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0 or parts.netloc != text or "@" in text:
        raise argparse.ArgumentTypeError(f"expected HOST or HOST:PORT, got {text!r}")
    return host, MASTER_PORT if port is None else port


def _whole(text: str) -> int:
    value = int(_number(text, int))
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text}")
    return value


def _number(text: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
