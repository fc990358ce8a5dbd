"""Machine code of other sources is never run."""

import shutil
from pathlib import Path

import pytest

from profiles.fleet.kernel import jit

KERNEL = Path(jit.__file__).parent
FILES = sorted(path.name for path in KERNEL.glob("*.py"))


def test_the_kernel_is_more_than_its_cache() -> None:
    assert {"cell.py", "dispatch.py", "server.py", "state.py", "people.py"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_an_edit_of_any_file_of_the_kernel_is_another_cache(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "kernel"
    shutil.copytree(KERNEL, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert jit.key_of(copy) == jit.key_of(KERNEL)
    with (copy / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert jit.key_of(copy) != jit.key_of(KERNEL)


def test_the_cache_in_use_is_that_of_these_sources() -> None:
    if jit.CACHE is not None and jit.CACHE.parent.name == "viralload":
        assert jit.CACHE.name == jit.key_of(KERNEL)
