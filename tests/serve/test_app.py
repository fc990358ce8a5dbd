import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serve.app import resolve, visible_gpus
from serve.settings import Settings, SettingsError
from tests.serve.conftest import ROOT, command


@pytest.mark.parametrize(
    ("environ", "nodes", "gpus"),
    [
        ({}, [], 0),
        ({}, ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], 2),
        ({"CUDA_VISIBLE_DEVICES": "3,5,7"}, ["nvidia0"], 3),
        ({"CUDA_VISIBLE_DEVICES": ""}, ["nvidia0"], 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ["nvidia0"], 0),
    ],
)
def test_visible_gpus(
    environ: Mapping[str, str], nodes: list[str], gpus: int, tmp_path: Path
) -> None:
    for node in nodes:
        (tmp_path / node).touch()
    assert visible_gpus(environ, tmp_path) == gpus


@pytest.mark.parametrize(
    ("settings", "visible", "replicas", "gpus"),
    [
        (Settings(), "", 1, 0),
        (Settings(), "0,1", 2, 2),
        (Settings(replicas=1), "0,1", 1, 1),
        (Settings(device="cpu"), "0,1", 1, 0),
        (Settings(device="cpu", replicas=3), "0", 3, 0),
        (Settings(model="stub"), "0,1", 1, 0),
    ],
)
def test_one_replica_a_gpu(
    settings: Settings, visible: str, replicas: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    resolved, taken = resolve(settings)
    assert (resolved.replicas, taken) == (replicas, gpus)


@pytest.mark.parametrize(
    ("settings", "visible", "told"),
    [
        (Settings(device="cuda"), "", "no CUDA GPU is visible here; use device=cpu"),
        (Settings(replicas=3), "0,1", "use replicas=2"),
    ],
)
def test_gpus_that_are_not_there(
    settings: Settings, visible: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(SettingsError, match=told):
        resolve(settings)


def run(settings: dict[str, Any]) -> tuple[int, str, str]:
    done = subprocess.run(
        command(settings), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prot": 1}, "did you mean 'port'?"),
        ({"weights": "/nowhere"}, "no folder /nowhere"),
        ({"host": "192.0.2.77"}, "use an address of this machine"),
    ],
)
def test_mistakes_exit_2_with_one_line(settings: dict[str, Any], told: str) -> None:
    code, out, err = run(settings)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_named_before_anything_starts(free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        code, out, err = run({"port": free_port})
    assert (code, out) == (2, "")
    assert err == (
        f"error: settings: port: {free_port} on 127.0.0.1: address already in use; "
        "free it or choose another\n"
    )


def test_the_stub_never_imports_torch() -> None:
    program = (
        "import sys, serve.stub, serve.engine, serve.deployment; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
