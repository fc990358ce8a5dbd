"""The command line's grammar; what its words mean is in `loadtest.cli.options.overrides`."""

import argparse
from pathlib import Path

from loadtest.cli.options.block import add_capacity, add_fleet, add_ledger
from loadtest.cli.options.shared import (
    add_gate,
    add_host,
    add_key,
    add_out,
    add_scenario,
    add_server,
    add_workers,
)
from loadtest.cli.options.values import address, count, duration, port, positive, whole
from loadtest.distributed.handshake import MASTER_PORT, TOKEN_ENV
from loadtest.system.environment import own_version


def parser() -> argparse.ArgumentParser:
    """Options of every verb; the verb's name is in `verb`."""
    command = argparse.ArgumentParser(
        prog="viralload",
        description="Replays the day an image service goes viral, and says what the GPUs did.",
        epilog="exit codes: 0 pass, 1 error, 2 usage or configuration, 3 run invalid, "
        "99 threshold failed, 130 interrupted",
    )
    command.add_argument("--version", action="version", version=f"viralload {own_version()}")
    verbs = command.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="replay a scenario against a server and report")
    add_scenario(run)
    add_gate(run)
    add_server(run)
    add_host(run)
    add_out(run)
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
        type=count,
        default=1,
        metavar="N",
        help="load generator processes (default: 1)",
    )
    add_workers(run)
    run.add_argument(
        "--web",
        type=port,
        nargs="?",
        const=8089,
        metavar="PORT",
        help="Locust's web UI on loopback (port 8089 unless told)",
    )
    run.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="tell Prometheus the GPUs' and the host's readings, on loopback",
    )
    run.add_argument("--gpu-price", type=positive, metavar="USD", help="price of a GPU-hour")
    run.add_argument(
        "--carbon",
        type=positive,
        metavar="G_PER_KWH",
        help="of your electricity, g CO2e/kWh: tells carbon an image",
    )
    run.add_argument("--json", action="store_true", help="print summary.json on stdout")

    find = verbs.add_parser("find", help="find the highest rate that still meets an SLO")
    _add_find(find)

    plan = verbs.add_parser("plan", help="draw what a scenario or trace would send")
    add_scenario(plan)
    add_gate(plan)
    plan.add_argument("--gpus", type=count, metavar="N", help="GPUs of this node")

    report = verbs.add_parser("report", help="make a run's summary and report again")
    report.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    report.add_argument("--json", action="store_true", help="print summary.json on stdout")

    serve = verbs.add_parser("serve", help="start the image server alone, on loopback")
    add_server(serve)
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
        "--threads", type=count, metavar="N", help="CPU threads (default: all cores but one)"
    )
    add_out(doctor, "where run folders would go")
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
        "master", type=address, metavar="HOST[:PORT]", help=f"of the master (port {MASTER_PORT})"
    )
    worker.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="play so many shares, each in a process of its own (default: 1)",
    )
    worker.add_argument(
        "--host",
        metavar="URL",
        help="the only server that may be loaded; needed where this machine's key would cross a "
        f"network unencrypted, or where no {TOKEN_ENV} is set (default: the one that the master "
        "names)",
    )
    add_key(worker)
    worker.add_argument(
        "--wait",
        default="10min",
        metavar="DURATION",
        help="for a master that is not there yet (default: %(default)s)",
    )
    add_capacity(verbs.add_parser("capacity", help="what runs say of a block of GPUs, and what if"))
    ledger = verbs.add_parser("ledger", help="score what was predicted by the runs that came in")
    add_ledger(ledger)
    add_out(ledger, "where the run folders are")
    ledger.add_argument("--json", action="store_true", help="print the scores as JSON")

    fleet = verbs.add_parser("fleet", help="simulate a scenario on a block of GPUs")
    add_scenario(fleet)
    add_fleet(fleet)

    verbs.add_parser("scenarios", help="list the built-in scenarios")
    return command


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
        help="half-width of the 95%% interval to reach, of the rate (default: 3%%)",
    )
    parser.add_argument(
        "--time",
        default="15min",
        metavar="DURATION",
        help="for all of it, starting a server included (default: %(default)s)",
    )
    add_server(parser)
    add_host(parser)
    parser.add_argument("--seed", type=whole, metavar="N", help="of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="of the images asked for")
    parser.add_argument("--steps", type=count, metavar="N", help="denoising steps asked for")
    parser.add_argument("--timeout", metavar="DURATION", help="how long a request is waited for")
    add_out(parser)
    parser.add_argument("--label", help="put into the run folder's name")
    parser.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="load generator processes (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print find.json on stdout")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="DURATION",
        help='how long, such as "90s" (default: until Ctrl-C)',
    )
    parser.add_argument(
        "--pid",
        type=count,
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
        "--hz", type=positive, default=10.0, metavar="N", help="samples a second (default: 10)"
    )
    add_out(parser)
    parser.add_argument("--label", help="put into the run folder's name")
    parser.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="tell Prometheus the readings, on loopback",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
