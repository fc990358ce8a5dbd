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
        description="Load-tests an image generation server with viral traffic, records its GPUs "
        "and reports latency, goodput and capacity.",
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
    run.add_argument("--label", help="appended to the run folder's name")
    run.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="recorded in the manifest and shown in the report; may be repeated",
    )
    run.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="number of load generator processes on this machine (default: 1)",
    )
    add_workers(run)
    run.add_argument(
        "--web",
        type=port,
        nargs="?",
        const=8089,
        metavar="PORT",
        help="serve Locust's web UI on loopback (default port: 8089)",
    )
    run.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="export GPU and host metrics to Prometheus on this loopback port",
    )
    run.add_argument("--gpu-price", type=positive, metavar="USD", help="price per GPU-hour in USD")
    run.add_argument(
        "--carbon",
        type=positive,
        metavar="G_PER_KWH",
        help="carbon intensity of your electricity, g CO2e/kWh: adds carbon per image to reports",
    )
    run.add_argument("--json", action="store_true", help="print summary.json on stdout")

    find = verbs.add_parser("find", help="find the highest rate that still meets an SLO")
    _add_find(find)

    plan = verbs.add_parser(
        "plan", help="show the load that a scenario or trace would send, without sending it"
    )
    add_scenario(plan)
    add_gate(plan)
    plan.add_argument("--gpus", type=count, metavar="N", help="number of GPUs in this node")

    report = verbs.add_parser("report", help="regenerate a run's summary and report")
    report.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    report.add_argument("--json", action="store_true", help="print summary.json on stdout")

    serve = verbs.add_parser("serve", help="start only the image server, on loopback")
    add_server(serve, or_host=False)
    serve.add_argument(
        "--host",
        metavar="ADDRESS",
        help="address to bind (default 127.0.0.1; 0.0.0.0 opens it to the network)",
    )

    _add_sample(
        verbs.add_parser("sample", help="record GPU and host metrics only, alongside any workload")
    )

    doctor = verbs.add_parser(
        "doctor", help="measure this machine's limits and check that it can run a load test"
    )
    doctor.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device to measure (default: every GPU that torch can use, otherwise the CPU)",
    )
    doctor.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads (default: all cores but one)"
    )
    add_out(doctor, "directory for run folders, checked for free space")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")

    worker = verbs.add_parser(
        "worker",
        help="generate a share of the load of a run started on another machine",
        description="Generates a share of the load of a run started elsewhere with "
        "--expect-workers. This machine must reach both the master and the server under test; it "
        "needs the same version of viralload, but no shared files. The API key, if the server "
        f"needs one, and the run's token ({TOKEN_ENV}) are read from this machine's environment.",
    )
    worker.add_argument(
        "master",
        type=address,
        metavar="HOST[:PORT]",
        help=f"address of the master (default port: {MASTER_PORT})",
    )
    worker.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="number of generator processes here, each with a share of its own (default: 1)",
    )
    worker.add_argument(
        "--host",
        metavar="URL",
        help="the only server that this worker may send load to; required if its key would cross a "
        f"network unencrypted, or if no {TOKEN_ENV} is set (default: the server that the master "
        "names)",
    )
    add_key(worker)
    worker.add_argument(
        "--wait",
        default="10min",
        metavar="DURATION",
        help="how long to wait for the master to start (default: %(default)s)",
    )
    add_capacity(
        verbs.add_parser(
            "capacity",
            help="estimate capacity and cost of a block of GPUs from runs, with what-if options",
        )
    )
    ledger = verbs.add_parser("ledger", help="score earlier predictions against later runs")
    add_ledger(ledger)
    add_out(ledger, "directory that holds the run folders")
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
        help="scenario whose requests are sent; its curve is ignored (default: %(default)s)",
    )
    parser.add_argument(
        "--slo",
        metavar="EXPRESSION",
        help='latency objective, such as "p(95) < 2s" (default: the scenario\'s latency threshold)',
    )
    parser.add_argument(
        "--precision",
        default="3%",
        metavar="SHARE",
        help="stop when the 95%% interval is this narrow: its half-width as a share of the rate "
        "(default: 3%%)",
    )
    parser.add_argument(
        "--time",
        default="15min",
        metavar="DURATION",
        help="time limit for the whole search, including server start (default: %(default)s)",
    )
    add_server(parser)
    add_host(parser)
    parser.add_argument("--seed", type=whole, metavar="N", help="random seed of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="image size to request, in pixels")
    parser.add_argument("--steps", type=count, metavar="N", help="denoising steps to request")
    parser.add_argument("--timeout", metavar="DURATION", help="time limit of a request")
    add_out(parser)
    parser.add_argument("--label", help="appended to the run folder's name")
    parser.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="number of load generator processes on this machine (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print find.json on stdout")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="DURATION",
        help='recording time, such as "90s" (default: until Ctrl-C)',
    )
    parser.add_argument(
        "--pid",
        type=count,
        metavar="PID",
        help="stop when this process exits; its memory and its children's count as the workload's",
    )
    parser.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="UUID",
        help="record only the GPU whose UUID starts with this; may be repeated (default: all)",
    )
    parser.add_argument(
        "--hz", type=positive, default=10.0, metavar="N", help="samples per second (default: 10)"
    )
    add_out(parser)
    parser.add_argument("--label", help="appended to the run folder's name")
    parser.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="export the metrics to Prometheus on this loopback port",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
