"""Every option of the command line, in a mode that has no use for it: refused, never ignored."""

import argparse
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.cli import main as cli
from loadtest.cli.options.parser import parser
from loadtest.client.target import free_port
from loadtest.traces.trace import KNOWN

HERE = "http://127.0.0.1:9"  # nobody; options are looked at first
ALWAYS = {  # by verb: what every mode of it uses
    "run": "scenario peak arrivals seed timeout model out label tag processes web metrics_port "
    "gpu_price carbon json real_time compression host body no_default_thresholds help",
    "find": "scenario slo precision time model host body seed size steps timeout out label "
    "processes json help",
    "plan": "scenario peak arrivals seed timeout real_time compression no_default_thresholds help",
    "serve": "model weights policy replicas port set host help",
    "sample": "duration pid gpu hz out label metrics_port json help",
    "worker": "master host processes wait header help",
}
# Options that a mode of the verb has no use for: the words, and what is said
UNUSED: list[tuple[str, str, list[str], str]] = [
    *(
        (verb, name, [*words, "--host", HERE], f"--{name}: it is of a server that viralload starts")
        for verb in ("run", "find")
        for name, words in {
            "policy": ["--policy", "none"],
            "set": ["--set", "max_batch=16"],
            "replicas": ["--replicas", "2"],
            "weights": ["--weights", "random"],
            "port": ["--port", "18123"],
        }.items()
    ),
    *(
        (verb, name, words, f"{words[0]}: it is for a server that is there")
        for verb in ("run", "find")
        for name, words in {
            "key_env": ["--key-env", "HOME"],
            "header": ["--header", "X-Foo: bar"],
        }.items()
    ),
    ("worker", "key_env", ["127.0.0.1:9", "--key-env", "NOT_THERE"], "NOT_THERE is not set"),
    *(
        ("run", name, words, "say how many with --expect-workers N")
        for name, words in {
            "master_bind_host": ["--master-bind-host", "127.0.0.2"],
            "master_bind_port": ["--master-bind-port", "18123"],
            "expect_workers_max_wait": ["--expect-workers-max-wait", "1min"],
        }.items()
    ),
    ("run", "expect_workers", ["--expect-workers", "2", "--processes", "2"], "--processes is of"),
    *(
        (verb, name, words, said)
        for verb in ("run", "plan")
        for name, words, said in [
            ("capacity", ["steady", "--peak", "5", "--capacity", "9"], "a peak such as 1.5x"),
            ("capacity", ["smoke", "--capacity", "9"], "a peak such as 1.5x refers to it"),
            ("compress_to", ["steady", "--compress-to", "9h"], "there is nothing to compress"),
            ("retry", ["steady", "--retry", "none"], "the scenario has no people"),
            (
                "rate_scale",
                ["rows.csv", "--rate-scale", "2", "--peak", "5"],
                "give it or load.peak, not both",
            ),
            ("rate_scale", ["steady", "--rate-scale", "2"], "says how to read a trace"),
            (
                "jitter",
                ["bins.csv", "--peak", "5", "--jitter", "1s"],
                "its rows are bins",
            ),
            ("jitter", ["steady", "--jitter", "1s"], "says how to read a trace"),
            ("size", ["rows.csv", "--peak", "5", "--size", "64x64"], "each row of the trace"),
            ("steps", ["rows.csv", "--peak", "5", "--steps", "9"], "each row of the trace"),
            ("sort", ["steady", "--sort"], "says how to read a trace"),
            ("rows", ["steady", "--rows", "arrivals"], "says how to read a trace"),
            ("window", ["steady", "--window", "1min@peak"], "says how to read a trace"),
            ("time_scale", ["steady", "--time-scale", "2"], "says how to read a trace"),
            *(
                (f"{kind}_column", ["steady", f"--{kind.replace('_', '-')}-column", "x"], "a trace")
                for kind in KNOWN
            ),
        ]
    ),
    ("plan", "gpus", ["steady", "--peak", "5", "--gpus", "8"], 'a peak of "share" refers to them'),
]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{t * t / 9},64x64,20\n" for t in range(12))
    Path("rows.csv").write_text(f"t_s,size,steps\n{rows}")
    Path("bins.csv").write_text("t_s,count\n" + "".join(f"{t * 60},{t + 1}\n" for t in range(9)))
    yield tmp_path
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("verb", "name", "words", "said"), UNUSED)
def test_an_option_that_would_change_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], verb: str, name: str, words: list[str], said: str
) -> None:
    assert cli.main([verb, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def actions(verb: str) -> list[argparse.Action]:
    (verbs,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    found: list[argparse.Action] = verbs.choices[verb]._actions
    return found


@pytest.mark.parametrize("verb", ALWAYS)
def test_no_option_is_left_out_here(verb: str) -> None:
    unused = {name for each, name, _, _ in UNUSED if each == verb}
    used = set(ALWAYS[verb].split())
    assert used | unused == {action.dest for action in actions(verb)}
    assert not used & unused


def option(name: str, value: str) -> list[str]:
    """Its words on a command line."""
    return ["--set", f"{name[6:]}={value}"] if name.startswith("--set ") else [name, value]


@pytest.mark.parametrize(
    "name", ["--port", "--metrics-port", "--web", "--set port", "--set metrics_port"]
)
def test_a_port_that_is_taken_is_said_before_anything(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["run", "smoke", "--model", "stub", *option(name, port)]) == 2
    assert f"port {port} cannot be used: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("--port", "--web"),
        ("--metrics-port", "--web"),
        ("--port", "--metrics-port"),
        ("--set metrics_port", "--metrics-port"),
        ("--set metrics_port", "--web"),
        ("--set port", "--web"),
    ],
)
def test_a_port_is_not_for_two(capsys: pytest.CaptureFixture[str], one: str, other: str) -> None:
    port = str(free_port())
    words = [*option(one, port), *option(other, port)]
    assert cli.main(["run", "smoke", "--model", "stub", *words]) == 2
    assert f"{one} and {other} name the same port, {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("n=2", "--body n: the scenario says how many"),
        ("prompt=x", "--body prompt: every request needs one"),
        ("size=64x64", "name it with --size"),
        ("size=null", "say with --size what the server makes"),
        ("response_format=url", "images are taken as b64_json alone"),
        ("stream=true", "answers are taken whole"),
        ("model=x", "name it with --model"),
        ("quality", "expected KEY=VALUE"),
        ("x=" + "[" * 5000, "nested too deeply"),
        ('x="\\ud800"', "no body can hold it"),
    ],
)
def test_fields_that_no_answer_could_be_held_against(
    capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert cli.main(["run", "steady", "--host", HERE, "--body", words]) == 2
    assert said in capsys.readouterr().err
