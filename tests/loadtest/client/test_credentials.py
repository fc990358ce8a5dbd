"""Keys, passwords and headers: checked before use, sent, and never shown."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.client.address import parse
from loadtest.client.credentials import (
    Credentials,
    checked_key,
    gather,
    in_the_clear,
    of_this_process,
    shown_command,
)
from loadtest.errors import TargetError

KEY = {"OPENAI_API_KEY": "sk-SECRET"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sk-SECRET\r", "begins or ends with blanks or a line break"),
        ("sk-SECRET\n", "begins or ends with blanks or a line break"),
        (" sk-SECRET\t", "begins or ends with blanks or a line break"),
        ("\ufeffsk-SECRET", None),  # a byte order mark of a file
        ("sk-SE\r\nCRET", None),
        ("“sk-SECRET”", None),
        ("sk-SECRET—x", None),
        ("sk-SECRET\u00a0x", None),
        ("sk-SÉCRET", None),
        ("sk-SECRET\x07", None),
        ('"sk-SECRET"', None),
        ("'sk-SECRET'", None),
        ("Bearer sk-SECRET", None),
        ("sk SECRET", None),
        ("   ", None),
        ("\udcffsk-SECRET", None),  # a byte of the environment that is no UTF-8
    ],
)
def test_a_key_is_mended_or_refused_in_one_line(text: str, said: str | None) -> None:
    if said is not None:
        key, notes = checked_key("MY_KEY", text)
        assert key == "sk-SECRET"
        assert [said in note and "MY_KEY" in note for note in notes] == [True]
        return
    with pytest.raises(TargetError, match="the key in MY_KEY") as caught:
        checked_key("MY_KEY", text)
    told = str(caught.value)
    assert told.isprintable()
    assert "SECRET" not in told
    assert "É" not in told


def test_what_typographic_quotes_are_is_named() -> None:
    with pytest.raises(TargetError, match="a left double quotation mark at position 1"):
        checked_key("K", "“sk-x”")


@pytest.mark.parametrize(
    ("host", "key_env", "headers", "environ", "sent", "said"),
    [
        ("http://h", None, [], KEY, {"Authorization": "Bearer sk-SECRET"}, ""),
        ("http://h", None, [], {}, {}, ""),
        ("http://h", None, [], {"OPENAI_API_KEY": ""}, {}, ""),
        ("http://ann:pw@h", None, [], {}, {"Authorization": "Basic YW5uOnB3"}, ""),
        ("http://ann:pw@h", None, [], KEY, {"Authorization": "Basic YW5uOnB3"},
         "the user and password of --host are sent, not the key in OPENAI_API_KEY"),
        ("http://ann:größe@h", None, [], {},
         {"Authorization": "Basic " + base64.b64encode("ann:größe".encode()).decode()}, ""),
        ("http://h", None, ["api-key: abc"], KEY, {"api-key": "abc"},
         "--header api-key is sent, not the key in OPENAI_API_KEY"),
        ("http://h", "K", ["api-key: abc"], {"K": "k"},
         {"api-key": "abc", "Authorization": "Bearer k"}, ""),
        ("http://h", None, ["X-Foo: bar"], KEY,
         {"X-Foo": "bar", "Authorization": "Bearer sk-SECRET"}, ""),
        ("http://ann:pw@h", None, ["Authorization: Token t"], KEY, {"Authorization": "Token t"},
         "--header Authorization is sent, not the user and password of --host"),
        ("http://h", None, ["X-Foo: $MINE"], {"MINE": "from there\n"}, {"X-Foo": "from there"}, ""),
        ("http://h", None, ["Authorization: Bearer $MINE"], {"MINE": "k1"},
         {"Authorization": "Bearer k1"}, ""),
        ("http://h", None, ["Authorization: Api-Key ${MINE}"], {"MINE": "k1"},
         {"Authorization": "Api-Key k1"}, ""),
        ("http://h", None, ["X-Price: 5$ each"], {}, {"X-Price": "5$ each"}, ""),
    ],
)  # fmt: skip
def test_what_is_sent_and_what_is_said(
    host: str, key_env: str | None, headers: list[str], environ: dict[str, str],
    sent: dict[str, str], said: str,
) -> None:  # fmt: skip
    found, notes = gather(parse(host), key_env, headers, environ)
    assert found.headers == sent
    assert " ".join(notes) == said


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (["X-Foo"], "expected 'NAME: VALUE'"),
        (["X Foo: hush"], "expected 'NAME: VALUE'"),
        (["X-Foo: hu\r\nsh"], "X-Foo holds a line break"),
        (["X-Foo: hush“"], "X-Foo holds a left double quotation mark"),
        (["X-Foo:"], "X-Foo has no value"),
        (["X-Foo: hush", "x-foo: hush"], "x-foo is given twice"),
        (["Host: hush"], "Host is set by viralload itself"),
        (["content-length: hush"], "content-length is set by viralload itself"),
        (["X-Foo: $NOT_THERE"], "NOT_THERE is not set"),
        (["Authorization: Bearer $NOT_THERE"], "NOT_THERE is not set"),
    ],
)
def test_headers_that_cannot_be_sent(headers: list[str], said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        gather(parse("http://h"), None, headers, {})
    assert "hush" not in str(caught.value)


def test_a_variable_that_was_named_and_is_not_set() -> None:
    with pytest.raises(TargetError, match="--key-env: the environment variable MINE is not set"):
        gather(parse("http://h"), "MINE", [], {})


def test_secrets_are_masked_in_whatever_form_a_server_repeats_them() -> None:
    address = parse("http://ann:pa55word@h/v1?sig=s%2Fignature")
    found, _ = gather(address, None, ["X-Foo: barbarbar"], {})
    told = f"basic {found.headers['Authorization']}, ann:pa55word, pa55word, s/ignature, barbarbar"
    assert found.mask(told) == "basic ***, ***, ***, ***, ***"
    assert found.mask("nothing of it") == "nothing of it"
    assert not {"pa55word", "barbarbar", "signature"} & {*f"{found!r}".replace(",", " ").split()}


def test_generators_have_them_from_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = gather(parse("http://h/v1?sig=x&api-version=1"), None, ["X-Foo: bar"], KEY)
    ((name, value),) = found.environment.items()
    monkeypatch.setenv(name, value)
    assert of_this_process() == found
    assert found.url("http://h/v1?api-version=1") == "http://h/v1?api-version=1&sig=x"
    assert found.url("http://h/v1") == "http://h/v1?sig=x"
    assert Credentials().environment == {}


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("images.example.com", KEY, "the key in OPENAI_API_KEY: sent unencrypted"),
        ("http://images.example.com:80", KEY, "give --host https://images.example.com:80"),
        ("http://ann:pw@10.0.0.1", {}, "the user and password of --host: sent unencrypted"),
        ("https://images.example.com", KEY, None),
        ("images.example.com", {}, None),
        ("localhost:8000", KEY, None),
        ("http://127.0.0.1", KEY, None),
    ],
)
def test_a_key_crosses_no_network_in_the_clear_without_a_word(
    host: str, key: dict[str, str], said: str | None
) -> None:
    address = parse(host)
    warning = in_the_clear(address, gather(address, None, [], key)[0])
    assert warning is None if said is None else said in (warning or "")


@pytest.mark.parametrize("host", ["--host=http://ann:pw@h/v1?key=k", "http://ann:pw@h/v1?key=k"])
def test_the_command_is_recorded_without_them(host: str) -> None:
    words = ["viralload", "run", host, "--header", "X-Foo: bar", "--header=Y: z"]
    url = host.removeprefix("--host=")
    shown = shown_command(words, url, parse(url), ["X-Foo: bar", "Y: z"])
    assert shown[2].removeprefix("--host=") == "http://***@h/v1?key=***"
    assert shown[3:] == ["--header", "X-Foo: ***", "--header=Y: ***"]


def test_ps_does_not_show_what_was_typed() -> None:
    script = (
        "from loadtest.system import command_line; from pathlib import Path;"
        "command_line.hide(['pa55word', '', 'nowhere']);"
        "print(Path('/proc/self/cmdline').read_bytes())"
    )
    command = [sys.executable, "-c", script, "--host", "http://ann:pa55" + "word@h"]
    told = subprocess.run(command, capture_output=True, check=True, cwd=Path.cwd()).stdout
    assert b"http://ann:********@h" in told
