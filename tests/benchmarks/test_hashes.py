"""Hashes of what is installed, from pip's report."""

from typing import Any

import pytest

from benchmarks.hashes import UnknownHashError, lines


def item(name: str, version: str, **origin: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "version": version},
        "download_info": {"url": f"https://files/{name}.whl", **origin},
    }


def test_a_line_a_file() -> None:
    report = {
        "install": [
            item("torch", "2.13.0+cpu", archive_info={"hashes": {"sha256": "ab"}}),
            item("Brotli", "1.2.1", archive_info={"hashes": {"sha256": "cd"}}),
        ]
    }
    assert lines(report) == [
        "brotli==1.2.1 --hash=sha256:cd",
        "torch==2.13.0+cpu --hash=sha256:ab",
    ]


@pytest.mark.parametrize("origin", [{}, {"vcs_info": {"vcs": "git"}}, {"archive_info": {}}])
def test_what_has_no_hash_is_refused(origin: dict[str, Any]) -> None:
    with pytest.raises(UnknownHashError, match=r"odd: https://files/odd\.whl has no hash"):
        lines({"install": [item("odd", "1", **origin)]})
