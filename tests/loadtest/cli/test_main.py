"""What a user meets at the command line: usage, clear errors, plans, reports."""

import json
import re
import shutil
import socket
from pathlib import Path

import pytest

from loadtest.cli.main import main
from loadtest.cli.options.overrides import settings_of
from loadtest.cli.options.parser import parser
from profiles.record.folder import RunError, RunFolder
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.conftest import StartServer
from tests.profiles.synthetic import OK, TEN, manifest, write_run


def finished(folder: Path, *arguments: str, **environ: str) -> Viralload:
    command = Viralload(folder, list(arguments), environ)
    command.code = command.finish()  # type: ignore[attr-defined]
    return command


def assert_one_line_error(command: Viralload, *said: str) -> None:
    assert command.code == 2, command.stderr  # type: ignore[attr-defined]
    (line,) = [line for line in command.stderr.splitlines() if line.startswith("error:")]
    for words in said:
        assert words in line
    assert "Traceback" not in command.stderr
    assert command.stdout == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate_per_s = 5.0", None),
        ("rate = 5.0", ["unknown key 'rate' at $.curve", 'did you mean "rate_per_s"?']),
        ("rate_per_s = -5.0", ["$.curve.rate_per_s"]),
        ("rate_per_s = 0.0", ["$.curve: its rate is 0 throughout"]),
    ],
)
def test_scenario_faults_end_before_anything_is_made(
    tmp_path: Path, text: str, said: list[str] | None
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        f'name = "s"\ntitle = "S"\n[curve]\nkind = "constant"\nduration = "1s"\n{text}\n'
    )
    if said is None:
        assert finished(tmp_path, "plan", str(path)).code == 0  # type: ignore[attr-defined]
        return
    command = finished(tmp_path, "run", str(path))
    assert_one_line_error(command, *said)
    assert not command.out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "is empty"),
        ("t_s\n3\n1\n", "Sort the rows"),
        ("t_s\n3\nx\n", "row 3, column 't_s'"),
    ],
)
def test_trace_faults(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_text(content)
    command = finished(tmp_path, "run", str(path), "--capacity", "5")
    assert_one_line_error(command, said, "t.csv")
    assert not command.out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "http://127.0.0.1:9"], ["cannot reach http://127.0.0.1:9", "refused"]),
        (["--host", "ftp://x"], ["is no URL such as"]),
        (["--peak", "fast"], ["$.load.peak", "1.5x"]),
        (["--timeout", "soon"], ["expected a duration such as"]),
        (["--size", "big"], ['expected "WIDTHxHEIGHT"']),
        (["--tag", "novalue"], ["--tag: expected KEY=VALUE"]),
        (["--set", "model"], ["--set: expected KEY=VALUE"]),
        (["--jitter", "3s"], ["--jitter says how to read a trace", "has none"]),
        (["--arrivals", "trace"], ['$.load.arrivals: "trace" needs a trace']),
        (["--peak", "1e9", "--model", "stub"], ["the schedule would hold", "lower --peak"]),
        (["--label", "name\udce9"], ["is no UTF-8", "in UTF-8"]),
    ],
)
def test_wrong_options_cost_nothing_and_leave_nothing(
    tmp_path: Path, arguments: list[str], said: list[str]
) -> None:
    command = finished(tmp_path, "run", scenario(tmp_path), *arguments)
    assert_one_line_error(command, *said)
    assert not command.out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--port", "99999"],
        ["run", "--seed", "x"],
        ["dance"],
        ["run", "--gpu-price", "-1"],
        [],
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    command = finished(tmp_path, *arguments)
    assert command.code == 2  # type: ignore[attr-defined]
    assert "usage: viralload" in command.stderr
    assert "Traceback" not in command.stderr


def test_a_wrong_key_is_said_before_any_image_is_asked_for(
    tmp_path: Path, image_server: StartServer
) -> None:
    url = image_server(key="secret")
    arguments = ["run", scenario(tmp_path), "--host", url]
    assert_one_line_error(finished(tmp_path / "a", *arguments), "OPENAI_API_KEY is not set")
    wrong = finished(tmp_path / "b", *arguments, OPENAI_API_KEY="guess")
    assert_one_line_error(wrong, "OPENAI_API_KEY is not accepted")
    assert "guess" not in wrong.stderr
    assert not wrong.out.exists()


def test_a_taken_port_is_said_before_the_server_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = finished(tmp_path, "run", scenario(tmp_path), "--model", "stub", "--port", port)
    assert_one_line_error(command, f"port {port} cannot be used", "--port")
    assert not command.out.exists()


def test_a_run_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert_one_line_error(
        finished(tmp_path, "run", scenario(tmp_path)), "cannot write a run folder", "--out DIR"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "max_bach=4"], ["max_bach", "max_batch"]),
        (["--model", "sd16"], ["model"]),
        (["--weights", "/nowhere/at/all"], ["/nowhere/at/all"]),
    ],
)
def test_wrong_server_settings_are_said_in_the_servers_words(
    tmp_path: Path, arguments: list[str], said: list[str]
) -> None:
    command = finished(tmp_path, "run", scenario(tmp_path), *arguments)
    assert_one_line_error(command, *said)
    assert "run folder" not in command.stderr
    assert not command.out.exists()  # nothing was started


def test_the_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert re.fullmatch(r"viralload \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "COMMAND" in told.err
    assert "scenarios" in told.err


def test_what_nobody_foresaw_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("Bearer sk-a-marked-secret\nfailed\x1b[2J")

    monkeypatch.setenv("MY_KEY", "sk-a-marked-secret")
    monkeypatch.setattr("loadtest.cli.run.call", fail)
    assert main(["run", "--key-env", "MY_KEY"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: RuntimeError: Bearer *** failed")
    assert told.err.count("\n") == 1
    assert "\x1b" not in told.err


def test_a_report_is_told_where_it_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path, manifest(TEN), OK)

    def refuse(*_: object) -> None:
        raise RunError("cannot write summary.json: Read-only file system")

    monkeypatch.setattr(RunFolder, "_put", refuse)
    assert main(["report", str(folder.path)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("PASS")
    assert "warning: nothing was written: cannot write summary.json: Read-only" in told.err
    assert main(["report", str(folder.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"


def test_plans_and_scenarios_are_listed_without_a_server(tmp_path: Path) -> None:
    listed = finished(tmp_path, "scenarios")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "bursty", "crowd", "flash-crowd", "ghibli-hour", "ghibli-week", "launch-2022", "melting",
            "smoke", "steady",
        ]  # fmt: skip
    plan = finished(tmp_path, "plan", "ghibli-week")
    for words in (
        "downloads +11%",
        "weekly active users +5%",
        "in-app revenue +6%",
        "130 million",
    ):
        assert words in plan.stdout
    assert "2,8" in plan.stdout  # 2,829 images/s at the event's peak


def test_a_report_needs_a_run(tmp_path: Path) -> None:
    assert_one_line_error(finished(tmp_path, "report", str(tmp_path)), "is no run folder")


@pytest.mark.e2e
def test_a_report_is_made_again_anywhere(tmp_path: Path, image_server: StartServer) -> None:
    first = finished(
        tmp_path, "run", scenario(tmp_path, duration=1), "--host", image_server(), "--json"
    )
    elsewhere = tmp_path / "elsewhere"
    shutil.move(first.folder.path, elsewhere)
    (elsewhere / "report.html").unlink()
    again = finished(tmp_path, "report", str(elsewhere), "--json")
    assert again.code == 0  # type: ignore[attr-defined]
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert (elsewhere / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("max_queue=9", 9),
        ("stub_step_s=0.5", 0.5),
        ("graphs=false", False),
        ("deadline_s=null", None),
        ("sizes=64x64", "64x64"),
        ("cache=a=b", "a=b"),
        ('model="tiny"', '"tiny"'),
        ("max_wait_s=NaN", "NaN"),
        ("sizes=[1]", "[1]"),
    ],
)
def test_settings_are_numbers_and_switches_where_they_look_so(word: str, value: object) -> None:
    key = word.partition("=")[0]
    assert settings_of(parser().parse_args(["run", "--set", word])) == {key: value}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--peak", "9"], ["4 rows over 5.33 s: 0.75/s", "gap CV", "each row tells steps 20-40"]),
        (["--rate-scale", "2"], ["8 arrivals, 2 x the rows, over", "the curve's own rate"]),
        (["--time-scale", "60"], ["4 rows over 5.33 min: 0.0125/s"]),
    ],
)
def test_a_trace_is_planned_in_words(tmp_path: Path, options: list[str], said: list[str]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(
            f'{{"t_s": {t}, "steps": {s}}}\n' for t, s in ((0, 20), (1, 30), (2.5, 40), (4, 20))
        )
    )
    command = finished(tmp_path, "plan", str(path), *options)
    assert command.code == 0, command.stderr  # type: ignore[attr-defined]
    for words in said:
        assert words in command.stdout


def test_prompts_that_cannot_be_read_are_said_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        'name = "s"\ntitle = "S"\n[curve]\nkind = "constant"\nduration = "1s"\nrate_per_s = 5\n'
        '[request]\nprompts = { file = "missing.txt" }\n'
    )
    command = finished(tmp_path, "run", str(path))
    assert_one_line_error(command, "$.request.prompts.file", "missing.txt", "No such file")
    assert not command.out.exists()
