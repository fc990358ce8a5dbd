"""A GPU day's sampler beside a load of matmuls: what it reads, and what it costs the load.

On a CPU NVML is the scripted one of the tests (tests/profiles/fake_nvml.c): that shows that the
comparison runs, and its readings are told as lacking.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_day_part import NEEDS_GPU, Session, session

WORDS = ("--load", "matmul", "--seconds", "12", "--pairs", "2", "--stretch", "5")
REHEARSED = ("--load", "matmul", "--seconds", "3", "--pairs", "1", "--stretch", "2")
SCRIPT = "- gpus 1\n* power_mw 400000\n* gpm 1\n"


def main(argv: list[str] | None = None) -> int:
    """Run and tell; returns the exit code."""
    part, _ = session("gpu_day_sampler", __doc__, argv)
    part.attempt("load lost to sampling", "%", lambda: _run(part))
    return part.end()


def _run(part: Session) -> None:
    words = REHEARSED if part.rehearse else WORDS
    with tempfile.TemporaryDirectory(prefix="viralload-") as scratch:
        environ = dict(os.environ)
        if not part.on_gpu:
            from tests.profiles import fake_nvml

            environ = fake_nvml.environment(Path(scratch), SCRIPT)
        command = [sys.executable, "-m", "benchmarks.sampler", "--gpu", *words]
        command += ["--out", str(part.out / "sampler.json"), "--set", f"device={part.device}"]
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    tell(part, json.loads((part.out / "sampler.json").read_text(encoding="utf-8")))


def tell(part: Session, told: dict[str, Any]) -> None:
    """The figures of `benchmarks.sampler --gpu`."""
    lost = told["throughput"]
    how = "benchmarks.sampler --gpu" + ("" if part.on_gpu else ", scripted NVML")
    low, high = lost["lost_low_percent"], lost["lost_high_percent"]
    note = "one pair: no interval" if low is None else f"95%: {low:.2f} to {high:.2f}"
    part.book.add("load lost to sampling", lost["lost_percent"], "%", how, note)
    load = told["load"]
    part.book.add(f"load, {load['load']}", told["work_per_s"], f"{load['unit']}/s", how)
    if not part.on_gpu:
        for name in ("energy by counter", "energy by power", "calls of NVML"):
            part.book.lack(name, "J" if "energy" in name else "ms", NEEDS_GPU)
        return
    for name, field in (("counter", "j_per_unit_counter"), ("power", "j_per_unit_integrated")):
        if told[field] is None:
            part.book.lack(f"energy by {name}", f"J a {load['unit']}", "NVML told none")
        else:
            part.book.add(f"energy by {name}", told[field], f"J a {load['unit']}", how)
    for sampler in told["samplers"]:
        for name, cost in sampler["calls"].items():
            part.book.add(f"call of NVML, {name}", cost, "ms", how)


if __name__ == "__main__":
    sys.exit(main())
