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
        "runs", type=Path, nargs="*", metavar="RUN", help="a run folder; several that repeat it"
    )
    parser.add_argument(
        "--published", metavar="NAME", help="a published rate in place of runs, such as sdxl-h200"
    )
    parser.add_argument(
        "--blocks",
        type=positive,
        default=1.0,
        metavar="X",
        help="blocks of 100,000 GPUs (default: 1)",
    )
    parser.add_argument(
        "--slo", metavar="LIMIT", help='such as "p(95) < 30s"; the records are counted afresh'
    )
    parser.add_argument(
        "--curve",
        metavar="SCENARIO",
        help="whose arrivals the block must bear, a name or file (default: the runs' own)",
    )
    parser.add_argument(
        "--arrivals",
        choices=get_args(Word),
        help="how they come around the rate of --curve (default: as it says)",
    )
    parser.add_argument(
        "--cell", type=count, metavar="N", help="GPUs of a cell (default: as many as were tested)"
    )
    parser.add_argument(
        "--routing",
        choices=get_args(Routing),
        default="random",
        help="between cells (default: %(default)s)",
    )
    parser.add_argument(
        "--spare",
        type=share,
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
        "--prices", type=Path, metavar="FILE", help="in place of profiles/capacity/prices.toml"
    )
    parser.add_argument(
        "--subscribers", type=share, metavar="SHARE", help="of the event's users who pay"
    )
    parser.add_argument(
        "--weekly-revenue", type=positive, metavar="USD", help="in-app revenue of a usual week"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="goodput against block size and against the SLO"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with both drawn")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--no-ledger", action="store_true", help="do not write down what this predicts"
    )
    add_ledger(parser)


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Where predictions are."""
    parser.add_argument(
        "--ledger", type=Path, metavar="FILE", help="default: ledger.jsonl beside the runs"
    )


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Of `viralload fleet`, beside the scenario."""
    parser.add_argument(
        "--gpus", type=count, default=100_000, metavar="N", help="of the block (%(default)s)"
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
        "--max-batch", type=count, metavar="N", help="images a GPU (default: the most measured)"
    )
    parser.add_argument(
        "--max-queue", type=whole, default=64, metavar="N", help="waiting a GPU; 0: no bound (64)"
    )
    parser.add_argument(
        "--deadline", metavar="DURATION", help="refuse what is predicted to take longer"
    )
    parser.add_argument(
        "--cell-gpus", type=count, default=1000, metavar="N", help="behind one router (1000)"
    )
    parser.add_argument(
        "--gpu-spread", type=share, default=0.0, metavar="S", help="between GPUs, such as 0.08"
    )
    parser.add_argument("--autoscale", action="store_true", help="by Ray Serve's rules")
    parser.add_argument("--failures", action="store_true", help="at Llama 3's rate")
    parser.add_argument(
        "--slo-share",
        type=share,
        metavar="SHARE",
        help="also search the GPUs that this share within the SLO needs, such as 0.95",
    )
    parser.add_argument(
        "--memory", type=positive, default=2.0, metavar="GIB", help="at most (%(default)s)"
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
