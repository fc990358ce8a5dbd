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
COLUMNS = {
    "time": "column with the times",
    "rate": "column with a rate per bin",
    "count": "column with a count per bin",
    "steps": "column with the denoising steps",
    "images": "column with the images per request",
    "size": "column with the image size, WxH",
    "prompt_chars": "column with the prompt length",
    "user": "column with the user",
}


def add_scenario(parser: argparse.ArgumentParser) -> None:
    """The scenario or trace, and what is changed of it."""
    parser.add_argument(
        "scenario",
        nargs="?",
        default=DEFAULT_SCENARIO,
        metavar="SCENARIO",
        help=f"built-in ({', '.join(builtin_names())}), a .toml file, or a trace "
        "in .csv, .tsv, .jsonl, .json or .parquet, compressed or not (default: %(default)s)",
    )
    parser.add_argument(
        "--peak",
        metavar="RATE",
        help='peak load: images/s; "1.5x" for a multiple of the capacity; or "share" for the share '
        "that this node has of the demand on a block of 100,000 GPUs",
    )
    parser.add_argument(
        "--capacity",
        metavar="IMAGES_PER_S|FIND_FOLDER",
        help="capacity that --peak 1.5x multiplies: images/s, or a folder of `viralload find` "
        "(default: measured before the load)",
    )
    time = parser.add_mutually_exclusive_group()
    time.add_argument(
        "--compress-to",
        metavar="DURATION",
        help='compress time so that the load lasts this long, such as "90s"',
    )
    time.add_argument("--compression", type=positive, metavar="K", help="compress time K-fold")
    time.add_argument("--real-time", action="store_true", help="do not compress time")
    parser.add_argument(
        "--arrivals", choices=get_args(Word), help="arrival process around the curve's rate"
    )
    parser.add_argument("--seed", type=whole, metavar="N", help="random seed of the arrivals")
    parser.add_argument("--size", metavar="WxH", help="image size to request, in pixels")
    parser.add_argument("--steps", type=count, metavar="N", help="denoising steps to request")
    parser.add_argument("--timeout", metavar="DURATION", help="time limit of a request")
    parser.add_argument(
        "--retry",
        choices=("none", "immediate", "backoff"),
        help="what people do after 429, 503 or a timeout",
    )
    trace = parser.add_argument_group("reading a trace")
    for column in KNOWN:
        trace.add_argument(
            f"--{column.replace('_', '-')}-column", metavar="NAME", help=COLUMNS[column]
        )
    trace.add_argument(
        "--rows",
        choices=("arrivals", "bins"),
        help="what a row is, if the columns do not show it",
    )
    trace.add_argument(
        "--window",
        metavar="LENGTH@WHERE",
        help="replay only a stretch, at real speed: 10min@peak, or 10min@02:30:00 from the start",
    )
    trace.add_argument(
        "--sort", action="store_true", help="sort rows that go back in time (default: an error)"
    )
    trace.add_argument(
        "--time-scale",
        type=positive,
        metavar="S",
        help="seconds per unit of the time column (default: detected)",
    )
    trace.add_argument(
        "--rate-scale", type=positive, metavar="X", help="multiply the recorded rate by X"
    )
    trace.add_argument(
        "--jitter", metavar="DURATION", help="spread timestamps recorded in batches over this time"
    )


def add_gate(parser: argparse.ArgumentParser) -> None:
    """What the run is held to beside the scenario's own thresholds."""
    parser.add_argument(
        "--no-default-thresholds",
        action="store_true",
        help="apply only the scenario's own thresholds; by default these apply as well: "
        f"{', '.join(f'{metric}: {text}' for metric, (text,) in DEFAULTS.items())}".replace(
            "%", "%%"
        ),
    )


def add_server(parser: argparse.ArgumentParser, *, or_host: bool = True) -> None:
    """The server to start; `or_host`: --host may name one in its place."""
    also = "; with --host, the name that this server gives it" if or_host else ""
    parser.add_argument(
        "--model",
        help="sd15, sdxl, sd35-medium or flux-schnell; a toy version of one: tiny, tiny-sdxl, "
        "tiny-sd35, tiny-flux; or stub, which is no model" + also,
    )
    parser.add_argument(
        "--weights", help="random, a folder saved by diffusers, or a hub id (default: random)"
    )
    parser.add_argument(
        "--policy",
        choices=("step", "request", "none"),
        help="batching: step lets images join and leave between denoising steps; request batches "
        "whole requests; none runs one image at a time (default: step)",
    )
    parser.add_argument(
        "--replicas", type=count, metavar="N", help="copies of the model (default: one per GPU)"
    )
    parser.add_argument("--port", type=port, help="port of the server that is started")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of the server (docs/server.md lists them); may be repeated",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """A server that is there, and how it wants to be spoken to."""
    target = parser.add_argument_group("a server of your own")
    target.add_argument(
        "--host",
        metavar="URL",
        help="test this server instead of starting one; a path is the path of its API, and "
        "http://user:password@... means basic authentication",
    )
    target.add_argument(
        "--body",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="add a field to every request, such as quality=high; null removes it; may be repeated",
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
        help="header of every request; a $VARIABLE is read from the environment; the value is kept "
        "secret; may be repeated",
    )


def add_workers(run: argparse.ArgumentParser) -> None:
    """Workers on other machines."""
    workers = run.add_argument_group(
        "workers on other machines",
        "Each machine runs `viralload worker HOST` and sends a share of the load. Locust's master "
        "port is neither encrypted nor authenticated: whoever reaches it can see the scenario, "
        "end the run and forge its record. Keep it on loopback behind an SSH tunnel (ssh "
        f"-L {MASTER_PORT}:127.0.0.1:{MASTER_PORT} MASTER), or bind it to an address of a private "
        "network.",
    )
    workers.add_argument(
        "--expect-workers",
        type=count,
        metavar="N",
        help="number of remote workers; with this set, this machine sends no load itself",
    )
    workers.add_argument(
        "--expect-workers-max-wait",
        metavar="DURATION",
        help="how long to wait for the workers to connect (default: 5min)",
    )
    workers.add_argument(
        "--master-bind-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address that the workers connect to (default: %(default)s)",
    )
    workers.add_argument(
        "--master-bind-port",
        type=port,
        default=MASTER_PORT,
        metavar="PORT",
        help="port that the workers connect to (default: %(default)s)",
    )


def add_out(parser: argparse.ArgumentParser, what: str = "directory for run folders") -> None:
    """Where run folders are."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help=f"{what} (default: %(default)s)",
    )
