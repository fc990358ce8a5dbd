"""Options of the verbs about a block of GPUs: capacity, ledger, fleet."""

import argparse
from pathlib import Path
from typing import get_args

from loadtest.cli.options.values import count, positive, share, whole
from loadtest.traffic.arrivals import Word
from profiles.capacity.factors import SPARE
from profiles.stats.queueing import Routing


def add_capacity(parser: argparse.ArgumentParser) -> None:
    """Of `viralload capacity`."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="a run folder, or several repeats of the same run",
    )
    parser.add_argument(
        "--published",
        metavar="NAME",
        help="use a published rate instead of runs, such as sdxl-h200",
    )
    parser.add_argument(
        "--blocks",
        type=positive,
        default=1.0,
        metavar="X",
        help="size of the block, in blocks of 100,000 GPUs (default: 1)",
    )
    parser.add_argument(
        "--slo",
        metavar="LIMIT",
        help='latency objective, such as "p(95) < 30s" (default: that of the runs)',
    )
    parser.add_argument(
        "--curve",
        metavar="SCENARIO",
        help="scenario whose arrivals the block must handle (default: those of the runs)",
    )
    parser.add_argument(
        "--arrivals",
        choices=get_args(Word),
        help="arrival process around the rate of --curve (default: that of the scenario)",
    )
    parser.add_argument(
        "--cell", type=count, metavar="N", help="GPUs per cell (default: as many as were tested)"
    )
    parser.add_argument(
        "--routing",
        choices=get_args(Routing),
        default="random",
        help="routing of requests between cells (default: %(default)s)",
    )
    parser.add_argument(
        "--spare",
        type=share,
        default=SPARE,
        metavar="SHARE",
        help="share of the block kept in reserve (default: %(default)s)",
    )
    parser.add_argument(
        "--ceiling",
        type=Path,
        metavar="RUN",
        help="a run with --model stub: the limit of the shared layer",
    )
    parser.add_argument("--price", metavar="USD", help="price per GPU-hour in USD")
    parser.add_argument(
        "--seller", metavar="NAME", help="seller whose price is used: contract, market, AWS, ..."
    )
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="price list to use instead of profiles/capacity/prices.toml",
    )
    parser.add_argument(
        "--subscribers", type=share, metavar="SHARE", help="share of the event's users who pay"
    )
    parser.add_argument(
        "--weekly-revenue",
        type=positive,
        metavar="USD",
        help="in-app revenue of a normal week, in USD",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="also show goodput by block size and by SLO"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write an HTML page with charts of both"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--no-ledger", action="store_true", help="do not record this prediction")
    add_ledger(parser)


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Where predictions are."""
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="file of predictions (default: ledger.jsonl beside the runs)",
    )


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Of `viralload fleet`, beside the scenario."""
    parser.add_argument(
        "--gpus",
        type=count,
        default=100_000,
        metavar="N",
        help="GPUs of the block (default: %(default)s)",
    )
    parser.add_argument(
        "--service",
        type=Path,
        required=True,
        metavar="PATH",
        help="measured service times: a run folder, or a JSON file such as "
        "profiles/reference/engine-tiny-cpu.json of the repository",
    )
    parser.add_argument(
        "--policy",
        choices=("step", "request", "none"),
        default="step",
        help="batching policy of the servers (default: %(default)s)",
    )
    parser.add_argument(
        "--routing",
        choices=("two", "random", "round-robin", "central", "least"),
        default="two",
        help="routing within a cell; two: the shorter queue of two (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=count,
        metavar="N",
        help="images per GPU at once (default: the most measured)",
    )
    parser.add_argument(
        "--max-queue",
        type=whole,
        default=64,
        metavar="N",
        help="images waiting per GPU; 0: no bound (default: 64)",
    )
    parser.add_argument(
        "--deadline", metavar="DURATION", help="refuse requests that are predicted to take longer"
    )
    parser.add_argument(
        "--cell-gpus",
        type=count,
        default=1000,
        metavar="N",
        help="GPUs behind one router (default: 1000)",
    )
    parser.add_argument(
        "--gpu-spread",
        type=share,
        default=0.0,
        metavar="S",
        help="spread of speed between GPUs, such as 0.08",
    )
    parser.add_argument(
        "--autoscale", action="store_true", help="scale replicas by Ray Serve's rules"
    )
    parser.add_argument(
        "--failures", action="store_true", help="let GPUs fail, at the rate of Llama 3's training"
    )
    parser.add_argument(
        "--slo-share",
        type=share,
        metavar="SHARE",
        help="also find the fewest GPUs that keep this share of requests within the SLO: 0.95",
    )
    parser.add_argument(
        "--memory",
        type=positive,
        default=2.0,
        metavar="GIB",
        help="memory limit in GiB (default: %(default)s)",
    )
    parser.add_argument(
        "--time", default="10min", metavar="DURATION", help="time limit (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fleets"),
        metavar="DIR",
        help="directory for results (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print simulated.json on stdout")
