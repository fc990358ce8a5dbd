"""No key, password or token anywhere, whatever goes wrong, by any verb that takes one."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.cli import main as cli
from loadtest.cli.options.parser import parser
from loadtest.client import target
from loadtest.client.address import parse
from loadtest.client.credentials import NONE
from loadtest.errors import TargetError
from loadtest.system import command_line
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.odd_server import (
    ANSWERS,
    GOOD,
    HEADER,
    KEY,
    PARAMETER,
    PASSWORD,
    SECRETS,
    Asked,
    Habit,
    answer,
    serving,
)


def trickle(_: Asked) -> bytes:
    """Never whole: a list that is longer than what comes."""
    return answer(200, b"{}", "Content-Length: 9000", length=False)


# Lists of models that no load follows: what is answered to GET, and what is said
LISTS: dict[str, tuple[Habit, str]] = {
    "unauthorized": (
        lambda a: answer(401, {"error": {"message": f"bad key {a.echo}"}}), "not accepted"
    ),
    "forbidden": (lambda a: answer(403, a.echo.encode()), "answered 403"),
    "busy": (lambda a: answer(429, {"detail": a.echo}), "answered 429, too many requests"),
    "ill": (lambda a: answer(503, {"message": a.echo}), "Is the server healthy?"),
    "page": (lambda a: answer(200, f"<html><title>{a.echo}</title>".encode()), "a web page"),
    "elsewhere": (
        lambda a: answer(302, b"", f"Location: http://ann:MARK-x@other/v2/models?k={a.echo}"),
        "redirects to http://other/v2/models: give --host http://other/v2",
    ),
    "login": (lambda _: answer(302, b"", "Location: /login"), "no list of models: see --host"),
    "https": (
        lambda a: answer(301, b"", f"Location: https://{a.headers['host']}/v1/models"),
        "give --host https://127.0.0.1",
    ),
    "garbage": (lambda a: f"HTTP/1.1 {a.echo}\r\n\r\n".encode(), "is no HTTP/1.1"),
    "escapes": (lambda _: b"\x1b]0;title\x07\r\n\r\n", "is no HTTP/1.1"),
    "ssh": (lambda _: b"SSH-2.0-OpenSSH_9.6\r\n", "speaks SSH"),
    "h2": (lambda _: b"\0\0\0\4\0\0\0\0\0", "speaks HTTP/2 only"),
    "length": (
        lambda a: answer(200, b"", f"Content-Length: {a.echo}", length=False), "Content-Length is"
    ),
    "negative chunk": (
        lambda _: answer(200, b"-5\r\n", "Transfer-Encoding: chunked", length=False),
        "a chunk of the answer has no length",
    ),
    "deep": (lambda _: answer(200, b"[" * 200_000 + b"]" * 200_000), "did not answer as an OpenAI"),
    "nothing": (lambda _: b"", "closed the connection"),
    "cut": (trickle, "closed the connection before its answer was whole"),
    "several": (
        lambda _: answer(200, {"data": [{"id": "flux-dev"}, {"id": "chat-1"}, {"id": "sdxl"}]}),
        "lists several models that make images: name one with --model: flux-dev, sdxl",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def said_by(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code and all that was printed, where nothing may be left and no secret told."""
    code = cli.main([*words])
    told = "".join(capsys.readouterr())
    assert not [secret for secret in SECRETS if secret in told], told
    assert told.replace("\n", "").isprintable()
    assert "Traceback" not in told
    assert not Path("runs").exists()
    return code, told


def host(url: str, how: str) -> list[str]:
    """The words that open it, by the key alone or by everything else."""
    if how == "key":
        return ["--host", url]
    user = f"ann:{PASSWORD.replace('/', '%2F')}"
    opened = url.replace("://", f"://{user}@") + f"/v1?q={PARAMETER}"
    return ["--host", opened, "--header", f"X-Mark: {HEADER}"]


@pytest.mark.parametrize("how", ["key", "all the rest"])
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("verb", ["run", "find"])
def test_a_list_that_cannot_be_had_is_one_line(
    capsys: pytest.CaptureFixture[str], verb: str, name: str, how: str
) -> None:
    habit, words = LISTS[name]
    with serving(ANSWERS["no words"][0], habit) as url:
        code, told = said_by(capsys, verb, "steady", *host(url, how))
    assert code == 2
    (line,) = [line for line in told.splitlines() if line.startswith("error:")]
    assert words in line


@pytest.mark.parametrize(
    "key", [f"{KEY}\r\nX: y", f"“{KEY}”", f"Bearer {KEY}", f"{KEY}é", f"{KEY} x", f'"{KEY}"']
)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "steady", "--host", "http://127.0.0.1:9"],
        ["find", "--host", "http://127.0.0.1:9"],
        ["worker", "127.0.0.1:9"],
    ],
)
def test_a_key_that_cannot_be_one_is_said_by_every_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, key: str, words: list[str]
) -> None:
    monkeypatch.setenv("MINE", key)
    code, told = said_by(capsys, *words, "--key-env", "MINE")
    assert code == 2
    assert "the key in MINE" in told


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--host", f"ftp://ann:{PASSWORD}@h"],
        ["run", "--host", f"http://ann:{PASSWORD}@h"],  # its / is not written %2F
        ["find", "--host", f"http://h:99999/?q={PARAMETER}"],
        ["run", "--host", f"http://ann:{KEY}@127.0.0.1:9/v1?q={PARAMETER}"],  # nobody there
        ["run", "--host", "http://127.0.0.1:9", "--header", f"X-Mark {HEADER}"],
        ["find", "--host", "http://127.0.0.1:9", "--header", f"X-Mark: {HEADER}\u201d"],
        ["worker", "127.0.0.1:9", "--header", f"Host: {HEADER}"],
        ["run", "--host", f"http://127.0.0.1:9?q={PARAMETER}", "--expect-workers", "1"],
    ],
)
def test_words_that_cannot_be_used_are_not_repeated(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert said_by(capsys, *words)[0] == 2


# What a user types in the wrong place, of every verb
MISPLACED = [
    ["run", f"http://ann:{PASSWORD}@h/v1"],
    ["plan", f"http://ann:{PASSWORD}@h"],
    ["find", "--url", f"http://ann:{PASSWORD}@h"],
    ["run", "steady", "--api-key", KEY],
    ["run", "steady", "--token", HEADER],
    ["run", "steady", f"--password={PASSWORD}"],
    ["run", "steady", KEY],
    ["run", "steady", "--host", "http://127.0.0.1:9", "--key", KEY],  # argparse's --key-env
    ["find", "--host", "http://127.0.0.1:9", "--key-env", KEY],
    ["worker", f"ann:{PASSWORD}@127.0.0.1"],
    ["worker", f"http://ann:{PASSWORD}@127.0.0.1:8"],
    ["worker", "127.0.0.1", "--key-env", KEY],
    ["report", f"http://ann:{PASSWORD}@h"],
    ["fleet", "steady", "--service", f"http://ann:{PASSWORD}@h"],
    ["capacity", f"http://ann:{PASSWORD}@h"],
    ["sample", "--api-key", KEY],
    ["doctor", "--api-key", KEY],
    ["ledger", "--key", KEY],
    ["scenarios", KEY],
    ["serve", "--api-key", KEY],
]


@pytest.mark.parametrize("words", MISPLACED, ids=lambda words: words[0])
def test_a_secret_in_the_wrong_place_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    hidden: list[str] = []  # from `ps`
    monkeypatch.setattr(command_line, "hide", hidden.extend)
    try:
        code = cli.main(words)
    except SystemExit as end:  # argparse's
        code = end.code if isinstance(end.code, int) else 1
    told = "".join(capsys.readouterr())
    assert code in (1, 2)
    assert not [secret for secret in SECRETS if secret in told], told
    assert "error:" in told
    assert [one for one in SECRETS if one in " ".join(words) and one not in " ".join(hidden)] == []


def test_no_verb_is_left_out_here() -> None:
    commands = next(one for one in parser()._actions if one.dest == "verb").choices
    assert commands is not None
    assert {words[0] for words in MISPLACED} == set(commands)


def test_words_that_are_no_secrets_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    assert cli.main(["find", "--host", "http://127.0.0.1:9", "--key-env", "NOT_SET"]) == 2
    assert "the environment variable NOT_SET is not set" in capsys.readouterr().err


def test_the_list_has_one_deadline_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # a byte every 20 ms would never be late for a limit of each read
    monkeypatch.setattr(target, "LIST_S", 0.3)
    is_over = threading.Event()

    def slowly(_asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for _ in range(500):
            is_over.wait(0.02)
            yield b"X"

    begin_s = time.monotonic()
    with serving(ANSWERS["no words"][0], slowly) as url:
        with pytest.raises(TargetError, match=r"no whole answer in 0.3 s. Is the server up\?"):
            target.ask_models(parse(url), NONE, None)
        assert time.monotonic() - begin_s < 5.0
        is_over.set()


@pytest.mark.e2e
def test_a_whole_run_leaves_no_secret_anywhere(tmp_path: Path) -> None:
    """Every habit in turn: what is printed, the run's folder with its logs and report, and `ps`."""
    habits = itertools.cycle([*(habit for habit, _ in ANSWERS.values()), *GOOD.values()])
    turn = threading.Lock()

    def each_in_turn(asked: Asked) -> bytes | Iterator[bytes]:
        with turn:
            habit = next(habits)
        return habit(asked)

    with serving(each_in_turn) as url:
        words = ["run", scenario(tmp_path, rate=25, duration=2), *host(url, "all the rest")]
        command = Viralload(tmp_path, [*words, "--body", "quality=high"], {"OPENAI_API_KEY": KEY})
        command.wait_for_records(5)
        lines = [" ".join(process.cmdline()) for process in command.processes()]
        assert command.finish() == 99, command.stderr
    assert any("locustfile" in line for line in lines)
    assert any("***" in line for line in lines)  # the command's own
    files = {path.name: path.read_bytes() for path in command.folder.path.iterdir()}
    told = [*lines, command.stdout, command.stderr, *(f.decode("latin-1") for f in files.values())]
    for text in told:
        assert not [secret for secret in SECRETS if secret in text]
    assert {"run.json", "job.json", "report.html", "locust.log", "summary.json"} <= set(files)
    assert command.folder.manifest().target.url == f"{url}/v1"
    asked = json.loads(files["job.json"])
    assert (asked["path"], asked["fields"]) == ("/v1/images/generations", {"quality": "high"})
    outcomes = command.folder.summary().outcomes
    assert sum(outcomes.values()) == 50
    assert outcomes["ok"] >= len(GOOD)
