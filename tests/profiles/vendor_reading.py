"""Reads a vendor's scripted GPUs in a process of its own, and tells all that it was told."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.profiles import fake_libraries

HOMES = {"amd": "profiles.devices.amd", "intel": "profiles.devices.intel.reader"}

# Reads the GPUs `cycles` times, real time apart (the fakes' counters grow by it), and then, on a
# clock that jumps further than the wait for a lost GPU, until the fault `until` was told.
READER = """
import importlib, json, sys, time, msgspec
from profiles.devices.reader import GpuError
home, cycles, apart_s, until = json.loads(sys.argv[1])
try:
    gpus = importlib.import_module(home).open_gpus("n1", 3)
except GpuError as err:
    print(json.dumps({"error": str(err)}))
    sys.exit()
told = {"info": msgspec.to_builtins(gpus.describe()), "cycles": []}
for cycle in range(cycles):
    since_s = time.monotonic()
    while time.monotonic() < since_s + apart_s:
        pass
    samples = gpus.sample(lambda: float(cycle), cycle - 0.25)
    told["cycles"].append(msgspec.to_builtins(samples))
told["faults"] = gpus.faults()
t_s, give_up_s = 100.0, time.monotonic() + 20
while until and not any(fault[0] == until for fault in told["faults"]):
    assert time.monotonic() < give_up_s, told["faults"]
    t_s += 10
    told["cycles"].append(msgspec.to_builtins(gpus.sample(lambda: t_s, t_s)))
    told["faults"] += gpus.faults()
told["unable"] = [state.unable for state in gpus.states(lambda: 0.0, "begin")]
told["calls"] = {name: cost.count for name, cost in gpus.calls().items()}
gpus.close()
print(json.dumps(told))
"""

Read = Callable[..., Any]


def reading(folder: Path, libraries: Path, vendor: str) -> Read:
    """A function that reads the GPUs of `vendor` ("amd" | "intel") under a script."""

    def read(
        script: str,
        cycles: int = 1,
        apart_s: float = 0.0,
        until: str | None = None,
        drop: tuple[str, ...] = (),
    ) -> Any:
        scripts = {vendor: script}
        env = fake_libraries.environment(folder, libraries, **scripts)
        for name in drop:
            env.pop(name)
        question = json.dumps([HOMES[vendor], cycles, apart_s, until])
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", READER, question],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read
