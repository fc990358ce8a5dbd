"""Whose GPUs there are, by sysfs, and which readers are opened."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.devices import vendors
from profiles.devices.polled import Ask, Device, Devices
from profiles.devices.reader import GpuError
from profiles.devices.vendors import AMD, INTEL, gpu_vendors, open_others, other_gpus
from profiles.record.folder import RunFolder
from profiles.schema import GpuInfo
from tests.profiles import fake_libraries
from tests.profiles.sampling import Sampling, command

BUS = [  # address, class, vendor
    ("0000:00:00.0", "0x060000", "0x8086"),  # a bridge
    ("0000:00:02.0", "0x030000", "0x8086"),  # inside the processor
    ("0000:03:00.0", "0x030000", "0x10de"),
    ("0000:41:00.0", "0x120000", "0x1002"),  # an Instinct
]


def bus(folder: Path, devices: list[tuple[str, str, str]]) -> Path:
    for address, kind, vendor in devices:
        device = folder / address
        device.mkdir(parents=True)
        (device / "class").write_text(kind + "\n")
        (device / "vendor").write_text(vendor + "\n")
    return folder


def test_gpus_are_found_on_the_bus(tmp_path: Path) -> None:
    (tmp_path / "0000:99:00.0").mkdir()  # without its files
    assert gpu_vendors(bus(tmp_path, BUS)) == {"0x10de", AMD}
    assert gpu_vendors(bus(tmp_path, [("0000:4d:00.0", "0x038000", "0x8086")])) > {INTEL}
    assert gpu_vendors(tmp_path / "none") == set()


def reader(names: list[str]) -> Callable[[str, int], Devices]:
    def open_gpus(node: str, first_index: int) -> Devices:
        def device(at: int, name: str) -> Device:
            info = GpuInfo(node=node, index=first_index + at, uuid=name, name=name)
            return Device(info, lambda: [Ask("power", ("power_w",), lambda: (1.0,))])

        return Devices(node, [device(at, name) for at, name in enumerate(names)], "", list)

    return open_gpus


def unreadable(why: str) -> Callable[[str, int], Devices]:
    def open_gpus(node: str, first_index: int) -> Devices:
        raise GpuError(f"{why} {node} {first_index}")

    return open_gpus


def test_indices_go_on_and_uuids_choose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(vendors.VENDORS, AMD, reader(["a0", "a1"]))
    monkeypatch.setitem(vendors.VENDORS, INTEL, reader(["i0"]))

    def names(first_index: int, only: list[str]) -> list[tuple[int, str]]:
        readers, unread = open_others("n1", first_index, only, tmp_path)
        assert unread == []
        return [(gpu.index, gpu.uuid) for one in readers for gpu in one.describe()]

    assert names(4, []) == [(4, "a0"), (5, "a1"), (6, "i0")]
    assert names(0, ["i"]) == [(0, "i0")]
    assert names(0, ["nobody"]) == []


@pytest.mark.parametrize(("there", "told"), [(BUS, ["no amdsmi n1 2"]), (BUS[:3], [])])
def test_a_missing_package_matters_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    there: list[tuple[str, str, str]],
    told: list[str],
) -> None:
    monkeypatch.setitem(vendors.VENDORS, AMD, unreadable("no amdsmi"))
    monkeypatch.setitem(vendors.VENDORS, INTEL, unreadable("no pyzes"))
    readers, unread = open_others("n1", 2, (), bus(tmp_path, there))
    assert (readers, unread) == ([], told)


@pytest.mark.parametrize(
    ("torch_version", "environ", "names"),
    [
        ("2.11.0+rocm7.1", {}, ["a0", "a1"]),
        ("2.11.0+rocm7.1", {"HIP_VISIBLE_DEVICES": "1"}, ["a1"]),
        ("2.11.0+cu130", {}, []),  # this server cannot compute there
        ("", {}, []),
        (None, {"HIP_VISIBLE_DEVICES": "1"}, ["a0", "a1", "i0"]),  # another's environment
    ],
)
def test_the_gpus_a_target_may_compute_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    torch_version: str | None,
    environ: dict[str, str],
    names: list[str],
) -> None:
    monkeypatch.setitem(vendors.VENDORS, AMD, reader(["a0", "a1"]))
    monkeypatch.setitem(vendors.VENDORS, INTEL, reader(["i0"]))
    gpus = other_gpus("n1", torch_version, environ, pytest.fail, tmp_path)
    assert [gpu.uuid for gpu in gpus] == names


def test_a_sampler_records_the_gpus_of_two_vendors(tmp_path: Path) -> None:
    for name in ("amdsmi", "pyzes"):
        if fake_libraries.package(name) is None:
            pytest.skip(f"{name} is not installed: pip install {name}")
    libraries = fake_libraries.build_intel(fake_libraries.build_amd(tmp_path))
    env = fake_libraries.environment(tmp_path, libraries, amd="- gpus 2\n", intel="* power_w 90\n")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    process = subprocess.Popen(
        command(folder.path, "--hz", "20"),
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        sampling = Sampling(process, folder)
        assert sampling.ready() == {"ready": True, "gpus": 3}
        sampling.until_gpu_samples(12)
        code, _ = sampling.stop(signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
    assert code == 0
    powers = {(sample.index, round(sample.power_w or 0)) for sample in sampling.all_gpu()}
    assert powers == {(0, 750), (1, 750), (2, 90)}
    assert {state.when for state in folder.states().read()} == {"begin", "end"}
    assert not [event for event in folder.events().read() if event.kind == "gpu_absent"]


def test_no_package_is_imported_with_the_readers() -> None:
    code = (
        "import sys, json, profiles.devices.vendors\n"
        "print(json.dumps([name for name in ('amdsmi', 'pyzes') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
