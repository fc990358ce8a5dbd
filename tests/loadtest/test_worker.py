from pathlib import Path

import pytest

from loadtest.worker import whole_lines


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


def test_a_file_that_is_not_there_yet_has_none(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "no.jsonl", 0) == b""
