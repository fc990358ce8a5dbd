"""What is shown of long work, on a terminal and elsewhere."""

import io

import pytest

from loadtest.system.progress import Progress


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def shown(is_terminal: bool) -> str:
    """Work of 40 s, told every second; then 4 s of another."""
    now_s = 100.0
    stream = Stream(is_terminal)
    progress = Progress(stream, clock=lambda: now_s)
    for second in range(41):
        now_s = 100.0 + second
        progress.show("simulating", second / 40)
    for second in range(5):
        now_s = 140.0 + second
        progress.show("trying", second / 4)
    progress.clear()
    return stream.getvalue()


def test_a_line_now_and_then_where_nobody_looks() -> None:
    assert shown(is_terminal=False).splitlines() == [
        "simulating: 25%, about 30 s left",
        "simulating: 50%, about 20 s left",
        "simulating: 75%, about 10 s left",
        "simulating: 100%, about 0 s left",
    ]


def test_a_terminal_sees_one_line_that_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    told = shown(is_terminal=True)
    assert "\n" not in told
    assert told.count("\r") == 40 + 4 + 1
    assert "trying: 50%, about 2 s left" in told
    assert told.endswith("\r\x1b[K")


def test_a_dumb_terminal_is_told_as_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert shown(is_terminal=True) == shown(is_terminal=False)
