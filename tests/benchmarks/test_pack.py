"""What is packed for a machine without network, and that it comes out there as it went in."""

import hashlib
import itertools
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks import pack
from benchmarks.pack import Found, found_of, main, needed, read_installed, requirements
from benchmarks.pack_parts import MIB, PackError, contents, layout, write


def test_requirements_are_the_projects_without_what_only_draws() -> None:
    names = {each.split(">")[0].split("[")[0] for each in requirements()}
    assert {"ray", "locust", "diffusers", "pytest", "hypothesis", "nvidia-ml-py"} <= names
    assert not names & {"torch", "altair", "vl-convert-python", "mypy"}


def test_what_a_machine_has() -> None:
    text = "# there\nNumPy==2.5.2\n\nzope.event\ntorch==2.11.0+cu130\nmine @ file:///x\n"
    assert read_installed(text) == {
        "numpy": "2.5.2", "zope-event": None, "torch": "2.11.0+cu130", "mine": None,
    }  # fmt: skip
    with pytest.raises(PackError, match=r"line 2: .* is no NAME==VERSION"):
        read_installed("torch\nnumpy 2.5\n")


def test_requirements_of_other_machines_and_extras_are_left_out() -> None:
    metadata = {
        "name": "A_b", "version": "1",
        "requires_dist": ["c>=2", 'd; sys_platform == "win32"', 'e; extra == "x"',
                          'f<3; python_version >= "3.12"'],
    }  # fmt: skip
    assert found_of(metadata, "3.12") == Found(name="a-b", version="1", requires=("c>=2", "f<3"))
    assert found_of(metadata, "3.11").requires == ("c>=2",)


def test_only_what_lacks_or_is_refused_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "requirements", lambda: ["ray>=2", "numpy>=2.0"])
    found = [
        Found(name="ray", version="2.60", requires=("click>=8", "grpcio", "virtualenv")),
        Found(name="click", version="8.5", requires=("colorama>=9",)),
        Found(name="grpcio", version="1.85"),
        Found(name="colorama", version="9.1"),
        Found(name="numpy", version="2.4"),
        Found(name="virtualenv", version="21"),
        Found(name="nvidia-cudnn-cu13", version="9"),
        Found(name="nvidia-ml-py", version="13"),
    ]
    # click is too old for ray; so it is packed, and then colorama is too old for click
    installed = {"click": "7.1", "grpcio": None, "numpy": "2.5", "colorama": "1.0"}
    assert needed(found, installed) == {
        "ray": "2.60", "click": "8.5", "colorama": "9.1", "nvidia-ml-py": "13",
    }  # fmt: skip
    assert "numpy" in needed(found, {"numpy": "1.26"})  # too old for the project itself


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ({"a": 30, "b": 20, "c": 10}, [{"a": 30, "b": 20, "c": 10}]),
        ({"a": 50, "b": 40, "c": 30}, [{"a": 50, "c": 10}, {"b": 40, "c": 20}]),
        ({"a": 110, "b": 8}, [{"b": 8, "a": 51}, {"a": 59}]),  # larger than a part
    ],
)
def test_wheels_are_laid_out(sizes: dict[str, int], parts: list[dict[str, int]]) -> None:
    pieces = layout(sizes, 60, 2)
    told = [
        {each.wheel: each.end - each.start for each in pieces if each.part == number}
        for number in range(1, 1 + max(each.part for each in pieces))
    ]
    assert told == parts
    for wheel, size in sizes.items():
        own = sorted((each.start, each.end) for each in pieces if each.wheel == wheel)
        assert own[0][0] == 0
        assert own[-1][1] == size
        assert all(one[1] == other[0] for one, other in itertools.pairwise(own))


def test_too_much_is_refused_by_name() -> None:
    with pytest.raises(PackError, match=r"121.0 MiB .* 2 parts of 60 MiB.*--installed.*a 81.0, b"):
        layout({"a": 81 * MIB, "b": 40 * MIB}, 60 * MIB, 2)


def test_wrong_words_cost_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([str(tmp_path / "out"), "--installed", str(tmp_path / "nosuch")]) == 2
    assert "nosuch" in capsys.readouterr().err


def wheel(folder: Path, name: str, filler: int) -> Path:
    """A wheel of a module that says its name, and so many bytes more."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    noise = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(filler))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"NAME = {name!r}\n")
        archive.writestr(f"{name}.bin", noise)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def unpack(parts: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(parts / "part-1" / "unpack.py"), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    made = tmp_path / "wheels"
    made.mkdir()
    wheels = [wheel(made, "one", 400), wheel(made, "two", 10)]
    sizes = {each.name: each.stat().st_size for each in wheels}
    pieces = layout(sizes, 1 + sum(sizes.values()) // 2)
    assert {each.part for each in pieces if each.wheel == wheels[0].name} == {1, 2}  # it is cut
    out = tmp_path / "out"
    write(out, wheels, pieces)
    assert contents(pieces).startswith("part-1: ")
    assert set(json.loads((out / "part-2" / "CONTENTS.json").read_text())["wheels"]) == set(sizes)

    site = tmp_path / "site"
    done = unpack(out, site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"export PYTHONPATH={site}:$PWD"
    assert (site / "one.py").read_text() == "NAME = 'one'\n"
    assert (site / "two.bin").stat().st_size == 320

    (damaged,) = [each for each in pieces if each.part == 2 and each.wheel == wheels[0].name]
    path = out / "part-2" / damaged.file
    path.write_bytes(b"x" + path.read_bytes()[1:])
    refused = unpack(out, site)
    assert (refused.returncode, "is damaged: carry its part again" in refused.stderr) == (1, True)
    path.unlink()
    refused = unpack(out, site)
    assert (refused.returncode, "is not there: put all parts" in refused.stderr) == (1, True)
