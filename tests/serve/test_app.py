import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from serve.app import resolve
from serve.devices.selection import Placement
from serve.settings import Settings, SettingsError
from tests.profiles import fake_nvml
from tests.serve.conftest import ROOT, command


@pytest.mark.parametrize(
    ("settings", "visible", "replicas", "gpus"),
    [
        (Settings(), 0, 1, 0),
        (Settings(), 2, 2, 2),
        (Settings(replicas=1), 2, 1, 1),
        (Settings(device="cpu", replicas=3), 0, 3, 0),
    ],
)
def test_one_replica_a_gpu(
    settings: Settings, visible: int, replicas: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.app.place", lambda settings: Placement(visible))
    resolved, taken = resolve(settings)
    assert (resolved.replicas, taken) == (replicas, gpus)
    # a replica is told where it is, and chooses nothing by itself
    assert resolved.device == ("cuda" if gpus else "cpu")


def test_more_replicas_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.app.place", lambda settings: Placement(2))
    with pytest.raises(SettingsError, match="use replicas=2"):
        resolve(Settings(replicas=3))


def test_what_is_to_be_read_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serve.app.place", lambda settings: Placement(0, "on the CPU: why"))
    resolve(Settings())
    assert capsys.readouterr() == ("", "note: on the CPU: why\n")


def run(settings: dict[str, Any], environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        command(settings), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
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


def test_nvml_with_a_gpu_and_no_node_of_it_stops_a_real_model(tmp_path: Path) -> None:
    """GPU finding 2: where the nodes have other names, SDXL went to the CPU without a word."""
    environ = fake_nvml.environment(tmp_path, "- gpus 1\n")
    code, out, err = run({"model": "sdxl"}, environ)
    assert (code, out) == (2, "")
    assert err.startswith("error: settings: device: no CUDA GPU can be used, though there is ")
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
    modules = "serve.stub.model, serve.engine.step_engine, serve.replica.deployment"
    program = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
