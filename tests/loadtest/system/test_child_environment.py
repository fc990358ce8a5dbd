"""What children take from around: nothing of another's settings, and no code of the user's."""

import os
import subprocess
from pathlib import Path

import pytest

from loadtest.system.child_environment import ROOT, environ, python, python_path, set_home
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.conftest import StartServer

SHADOWS = ("serve", "queue", "profiles", "loadtest", "locust", "msgspec", "random", "tests")


@pytest.mark.parametrize(
    ("name", "is_passed_on"),
    [
        ("LOCUST_RUN_TIME", False),
        ("LOCUST_MODE_WORKER", False),
        ("LOCUST_SKIP_LOG_SETUP", False),  # not a named case: any of them
        ("RAY_ADDRESS", False),
        ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", False),
        ("SERVE_SOCKET_REUSE_PORT_ENABLED", False),
        ("PYTHONSTARTUP", False),
        ("PYTHONWARNINGS", False),
        ("PYTHONOPTIMIZE", False),
        ("PYTHONINSPECT", False),
        ("GEVENT_RESOLVER", False),
        ("PYTHONHOME", True),
        ("PYTHONNOUSERSITE", True),
        ("OPENAI_API_KEY", True),
        ("CUDA_VISIBLE_DEVICES", True),
        ("HF_HOME", True),
        ("OMP_NUM_THREADS", True),
        ("XDG_CACHE_HOME", True),
    ],
)
def test_variables(name: str, is_passed_on: bool) -> None:
    made = environ({"VIRALLOAD_JOB": "/j"}, {name: "x"})
    assert (name in made) is is_passed_on
    assert made["VIRALLOAD_JOB"] == "/j"
    assert made["PYTHONSAFEPATH"] == "1"


def test_what_is_told_goes_before_what_is_around() -> None:
    assert environ({"RAY_TMPDIR": "ours"}, {"RAY_TMPDIR": "theirs"})["RAY_TMPDIR"] == "ours"


def test_only_folders_with_installed_packages_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, target, here = (tmp_path / name for name in ("scripts", "target", "here"))
    for folder in (scripts, target / "ray-2.60.0.dist-info", here / "x.dist-info"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    told = os.pathsep.join(["", ".", str(here), str(scripts), "/nowhere", str(target)])
    assert python_path(told, Path("/repo"), frozenset()) == ["/repo", str(target)]
    # from a wheel: Python finds it by itself
    assert python_path(told, Path("/site"), frozenset([Path("/site")])) == [str(target)]
    assert python_path("", Path("/site"), frozenset([Path("/site")])) == []


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert python_path(":.", Path("/repo"), frozenset()) == ["/repo"]


@pytest.mark.parametrize(
    "module", ["serve.app", "profiles.sampler.main", "loadtest.generator.self_test"]
)
def test_modules_are_ours_whatever_lies_in_the_working_folder(tmp_path: Path, module: str) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the user ran')\n")
    command = python(module, "--help")
    command[2:] = ["-c", f"import {module}, queue; print({module}.__file__)"]
    around = {**os.environ, "PYTHONPATH": os.pathsep.join(["", "."])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ(around=around), capture_output=True, text=True
    )
    assert done.stdout.strip() == str(ROOT / f"{module.replace('.', '/')}.py"), done.stderr


@pytest.mark.parametrize("known", [True, False])
def test_a_user_whom_the_machine_does_not_know_gets_a_home(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    uid = os.getuid() if known else 3_999_999_999
    monkeypatch.setattr(os, "getuid", lambda: uid)
    around: dict[str, str] = {}
    set_home(around)
    assert around == ({} if known else {"HOME": "/", "USER": f"uid-{uid}"})
    told = {"HOME": "/home/me", "USER": "me"}
    set_home(told)
    assert told == {"HOME": "/home/me", "USER": "me"}


@pytest.mark.e2e
def test_a_run_among_anothers_settings(
    tmp_path: Path, image_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the user ran')\n")
    (tmp_path / "locust.conf").write_text("run-time = 1s\ncsv = mine\n")
    (tmp_path / "pyproject.toml").write_text('[tool.locust]\ntags = ["x"]\n')
    around = {
        "LOCUST_RUN_TIME": "1s",
        "LOCUST_TAGS": "x",
        "LOCUST_MODE_WORKER": "true",
        "LOCUST_CSV": "mine",
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",  # as an installed command: its own folder comes first, not this
    }
    arguments = ["run", scenario(tmp_path, duration=2), "--host", image_server(), "--json"]
    before = {path.name for path in tmp_path.iterdir()} | {"runs"}
    monkeypatch.chdir(tmp_path)
    command = Viralload(tmp_path, arguments, around)
    assert command.finish() == 0, command.stderr
    assert command.summary.outcomes["ok"] == 40
    assert {path.name for path in tmp_path.iterdir()} == before
