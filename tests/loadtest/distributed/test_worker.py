import argparse
from pathlib import Path

import pytest

from loadtest.cli.options.values import address
from loadtest.distributed.worker import told_address, whole_lines


@pytest.mark.parametrize(
    ("offset", "most", "lines"),
    [
        (0, 100, b"one\ntwo\n"),  # the last line is still being written
        (4, 100, b"two\n"),
        (0, 7, b"one\n"),  # the second does not fit
        (8, 100, b""),
        (0, 2, b""),
    ],
)
def test_whole_lines(tmp_path: Path, offset: int, most: int, lines: bytes) -> None:
    path = tmp_path / "requests-a.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    assert whole_lines(path, offset, most) == lines


@pytest.mark.parametrize(
    ("word", "found", "told"),
    [
        ("10.0.0.2", ("10.0.0.2", 5557), "10.0.0.2:5557"),
        ("gpu-7.example", ("gpu-7.example", 5557), "gpu-7.example:5557"),
        ("localhost:6000", ("localhost", 6000), "localhost:6000"),
        ("[::1]:6000", ("::1", 6000), "[::1]:6000"),
        ("[fe80::2]", ("fe80::2", 5557), "[fe80::2]:5557"),
    ],
)
def test_an_address_is_handed_on_as_it_is_read(
    word: str, found: tuple[str, int], told: str
) -> None:
    assert address(word) == found
    assert told_address(*found) == told
    assert address(told) == found


@pytest.mark.parametrize("word", ["", "[x", "[127.0.0.1]:1", "a:b", "a:0", "::1", "u@h", "h/x"])
def test_what_is_no_address(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected HOST or HOST:PORT"):
        address(word)


def test_a_file_that_is_not_there_yet_has_none(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "no.jsonl", 0) == b""
