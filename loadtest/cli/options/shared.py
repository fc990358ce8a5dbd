"""Options that several verbs have."""

import argparse
from pathlib import Path
from typing import get_args

from loadtest.cli.options.values import count, port, positive, whole
from loadtest.client.credentials import DEFAULT_KEY_ENV
from loadtest.distributed.handshake import MASTER_PORT
from loadtest.scenario.scenario import builtin_names
from loadtest.traces.trace import KNOWN
from loadtest.traffic.arrivals import Word
from profiles.requests.threshold import DEFAULTS

DEFAULT_SCENARIO = "ghibli-hour"


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """The scenario or trace, and what is changed of it."""
    parser.add_argument(
        "scenario",
        nargs="?",
        default=DEFAULT_SCENARIO,
        metavar="SCENARIO",
        help=f"built-in ({', '.join(builtin_names())}), a .toml file, or a trace "
        "in .csv, .tsv, .jsonl, .json or .parquet, packed or not (default: %(default)s)",
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
    time.add_argument("--compression", type=positive, metavar="K", help="replay K times as fast")
    time.add_argument("--real-time", action="store_true", help="do not compress time")
    parser.add_argument(
        "--arrivals", choices=get_args(Word), help="how arrivals come around the curve's rate"
    )
    parser.add_argument("--seed", type=whole, metavar="N", help="of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="of the images asked for")
    parser.add_argument("--steps", type=count, metavar="N", help="denoising steps asked for")
    parser.add_argument("--timeout", metavar="DURATION", help="how long a request is waited for")
    parser.add_argument(
        "--retry",
        choices=("none", "immediate", "backoff"),
        help="what people do after 429, 503 or a timeout",
    )
    trace = parser.add_argument_group("a trace")
    for column in KNOWN:
        trace.add_argument(f"--{column.replace('_', '-')}-column", metavar="NAME", help="its name")
    trace.add_argument(
        "--rows",
        choices=("arrivals", "bins"),
        help="what its rows are, where its columns do not tell",
    )
    trace.add_argument(
        "--window",
        metavar="LENGTH@WHERE",
        help="a stretch of it at real speed: 10min@peak, or 10min@02:30:00 from its begin",
    )
    trace.add_argument("--sort", action="store_true", help="sort rows that go back in time")
    trace.add_argument(
        "--time-scale", type=positive, metavar="S", help="seconds in a unit of the time column"
    )
    trace.add_argument(
        "--rate-scale", type=positive, metavar="X", help="send X times what was recorded"
    )
    trace.add_argument(
        "--jitter", metavar="DURATION", help="spread stamps that come in batches over so long"
    )


def add_gate(parser: argparse.ArgumentParser) -> None:
    """What the run is held to beside the scenario's own thresholds."""
    parser.add_argument(
        "--no-default-thresholds",
        action="store_true",
        help="hold the run to the scenario's own thresholds alone; else also to "
        f"{', '.join(f'{metric}: {text}' for metric, (text,) in DEFAULTS.items())}".replace(
            "%", "%%"
        ),
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """The server to start."""
    parser.add_argument(
        "--model",
        help="sd15, sdxl, sd35-medium, flux-schnell, their toy twins tiny, tiny-sdxl, tiny-sd35, "
        "tiny-flux, or stub; with --host, the server's name of it",
    )
    parser.add_argument("--weights", help="random, a diffusers folder, or a hub id")
    parser.add_argument("--policy", choices=("step", "request", "none"))
    parser.add_argument("--replicas", type=count, metavar="N", help="default: one a GPU")
    parser.add_argument("--port", type=port, help="of the server that is started")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of the server; may be repeated",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """A server that is there, and how it wants to be spoken to."""
    target = parser.add_argument_group("a server that is there")
    target.add_argument(
        "--host",
        metavar="URL",
        help="load this server instead of starting one; a path is taken as the API's, and "
        "http://user:password@... is basic authentication",
    )
    target.add_argument(
        "--body",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="a field of every request, such as quality=high; null leaves it out; may be repeated",
    )
    add_key(target)


def add_key(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What opens the server."""
    parser.add_argument(
        "--key-env",
        metavar="NAME",
        help=f"environment variable that holds the API key (default: {DEFAULT_KEY_ENV})",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent with every request; $VARIABLE is read from the environment; the value counts as "
        "a secret; may be repeated",
    )


def add_workers(run: argparse.ArgumentParser) -> None:
    """Workers on other machines."""
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
        type=count,
        metavar="N",
        help="so many workers play the load, none of it this machine",
    )
    workers.add_argument(
        "--expect-workers-max-wait",
        metavar="DURATION",
        help="give up if they have not come by then (default: 5min)",
    )
    workers.add_argument(
        "--master-bind-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address the workers connect to (default: %(default)s)",
    )
    workers.add_argument(
        "--master-bind-port",
        type=port,
        default=MASTER_PORT,
        metavar="PORT",
        help="and its port (default: %(default)s)",
    )


def add_out(parser: argparse.ArgumentParser, what: str = "where run folders go") -> None:
    """Where run folders are."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help=f"{what} (default: %(default)s)",
    )
