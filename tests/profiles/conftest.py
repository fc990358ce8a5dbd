"""Scripted GPUs: read in a process of their own, or by a sampler."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from profiles.record.folder import RunFolder
from tests.profiles import fake_nvml
from tests.profiles.sampling import READER, Sampling, Start, command


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def read_gpus(tmp_path: Path, nvml_library: Path) -> Any:
    def run(
        script: str,
        times_s: tuple[float, ...] = (1.0,),
        until: str | None = None,
        code: str = READER,
        **env: str,
    ) -> Any:
        environment = fake_nvml.environment(tmp_path, script, nvml_library) | env
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, json.dumps([times_s, until])],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) | {"stderr": done.stderr}

    return run


@pytest.fixture
def start_sampler(tmp_path: Path, nvml_library: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(script: str = "", *options: str, zero_s: float | None = None) -> Sampling:
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir(exist_ok=True)
        process = subprocess.Popen(
            command(folder.path, *options, zero_s=zero_s),
            env=fake_nvml.environment(tmp_path, script, nvml_library),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Sampling(process, folder)

    yield start
    for process in started:
        process.kill()
        process.communicate()
