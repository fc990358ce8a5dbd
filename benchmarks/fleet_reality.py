"""The simulator against stub replicas on this machine: `python -m benchmarks.fleet --reality`.

`python -m serve.app` with the stub, an image at a time (policy none), a fixed 0.4 s each, 1 to 8
replicas behind HAProxy's leastconn; the same Poisson arrivals, at 0.8 of the capacity, go to the
server and into the simulator. What the server itself adds to an image is measured first, alone, and
is the only thing fitted; it counts as part of the service time, as a real GPU's would.
"""

import json
import sys

import msgspec
import numpy as np
import uvloop

from benchmarks.cell import poisson, quantile
from benchmarks.embedded import embedded
from benchmarks.player import open_loop, prepare
from benchmarks.serving import HOST, PATH
from profiles.fleet.simulate import Demand, simulate
from profiles.schema.fleet import Fleet, Service
from serve.ingress.haproxy import free_port

IMAGE_S = 0.4
UTILIZATION = 0.8
SLO_S = 1.2
SECONDS = 60.0
REPLICAS = (1, 2, 4, 8)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One number of replicas: measured, predicted, and how far off (percent)."""

    replicas: int
    requests: int
    lone_s: float
    measured: dict[str, float]
    predicted: dict[str, float]
    error_percent: dict[str, float]


def compare(*, quick: bool) -> list[Compared]:
    """Play and predict, replicas after replicas.

    Raises:
        BenchmarkError: a server does not start.
    """
    return [one(count, SECONDS / 2 if quick else SECONDS) for count in REPLICAS]


def one(replicas: int, seconds: float) -> Compared:
    """One number of replicas."""
    print(f"{replicas} replicas", file=sys.stderr, flush=True)  # noqa: T201
    port = free_port()
    settings = {
        "model": "stub", "policy": "none", "max_batch": 1, "max_queue": 10_000,
        "stub_fixed_s": IMAGE_S, "stub_step_s": 0, "default_steps": 1, "max_wait_s": 0,
        "replicas": replicas, "host": HOST, "port": port,
    }  # fmt: skip
    with embedded(settings):
        ask = prepare(PATH, json.dumps({"prompt": "a red fox"}).encode(), HOST)
        lone_at = [(IMAGE_S + 0.2) * n for n in range(12)]
        # The least: a server that has just started disturbs itself, and can only be slower for it.
        lone_s = min(uvloop.run(open_loop(HOST, port, ask, lone_at)))
        due_s = poisson(UTILIZATION * replicas / IMAGE_S, seconds, replicas)
        took_s = uvloop.run(open_loop(HOST, port, ask, due_s))
    service = Service(step_base_s=0.0, step_image_s=lone_s, steps=1, largest_batch=1)
    fleet = Fleet(gpus=replicas, cell_gpus=replicas, service=service, policy="none", max_batch=1,
                  routing="least", max_queue=None)  # fmt: skip
    demand = Demand(duration_s=seconds, times_s=np.array(due_s))
    played = simulate(fleet, demand, seed=1, slo_s=SLO_S)
    measured = {
        "p50_s": quantile(took_s, 0.5) or 0.0,
        "p95_s": quantile(took_s, 0.95) or 0.0,
        "goodput_per_s": sum(each <= SLO_S for each in took_s) / seconds,
    }
    predicted = {
        "p50_s": played.latency_p50_s or 0.0,
        "p95_s": played.latency_p95_s or 0.0,
        "goodput_per_s": (played.slo_share or 0.0) * played.requests / seconds,
    }
    return Compared(
        replicas=replicas,
        requests=played.requests,
        lone_s=lone_s,
        measured=measured,
        predicted=predicted,
        error_percent={name: 100.0 * (predicted[name] / measured[name] - 1.0) for name in measured},
    )
