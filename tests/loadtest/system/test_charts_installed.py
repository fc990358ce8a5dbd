"""Runs without what draws their reports. GPU finding 8: `viralload run` could not be imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.cli.main import main
from loadtest.system import charts_installed
from profiles.record.folder import RunFolder
from tests.loadtest.command import scenario
from tests.loadtest.conftest import StartServer
from tests.profiles.synthetic import TEN, manifest, write_run

# No package of a child process that begins so: an import of one raises ModuleNotFoundError.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({absent!r}));"


def python(absent: list[str], code: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT.format(absent=absent) + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_what_makes_a_load_imports_nothing_that_draws_or_computes() -> None:
    absent = ["altair", "vl_convert", "jinja2", "torch", "diffusers", "ray"]
    code = "import loadtest.cli.main, loadtest.driver.run, loadtest.search.find"
    done = python(absent, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "package"),
    [("altair", "altair"), ("vl_convert", "vl-convert-python"), ("jinja2", "jinja2")],
)
def test_the_package_that_is_not_there_is_named(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert charts_installed.absent() is None
    for one in (
        "profiles.report.charts.svg",
        "profiles.report.charts.panel",
        "profiles.report.html.page",
    ):
        monkeypatch.delitem(sys.modules, one, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert charts_installed.absent() == package


def test_a_fault_of_our_own_is_no_absent_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profiles.report.charts.svg", None)
    with pytest.raises(ModuleNotFoundError):
        charts_installed.absent()


def test_a_report_without_it_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(tmp_path, manifest(TEN)).path
    monkeypatch.setattr(charts_installed, "absent", lambda: "altair")
    assert main(["report", str(path)]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error: a report cannot be drawn without altair: pip install it")
    assert told.out == ""


@pytest.mark.e2e
def test_a_run_that_cannot_be_drawn_is_whole(tmp_path: Path, image_server: StartServer) -> None:
    words = ["run", scenario(tmp_path, rate=20, duration=1, timeout=2), "--host", image_server()]
    words += ["--json", "--out", str(tmp_path)]
    done = python(
        ["altair", "vl_convert"], f"from loadtest.cli.main import main; sys.exit(main({words!r}))"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["verdict"], summary["outcomes"]["ok"]) == ("pass", 20)
    (path,) = (one for one in tmp_path.iterdir() if one.is_dir())
    said = (
        f"not drawn, altair is not installed here; the record is whole: `viralload report {path}`"
    )
    assert said in done.stderr
    folder = RunFolder(path)
    assert folder.summary().ok_images == 20
    assert not folder.report_path.exists()
