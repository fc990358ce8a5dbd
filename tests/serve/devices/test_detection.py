"""What speaks of a GPU: nodes and files of a machine, as a folder."""

import sys
from pathlib import Path

import pytest

from serve.devices.detection import TorchBuild, Traces, find_traces, torch_build


@pytest.mark.parametrize(
    ("files", "traces"),
    [
        ([], Traces()),
        (["dev/nvme0n1", "dev/nvram", "dev/dri/card0"], Traces()),
        (["dev/nvidia0"], Traces(("/dev/nvidia0",))),
        # a container whose node of the GPU is named otherwise still has the driver's own
        (["dev/nvidiactl", "dev/gpu-a"], Traces(("/dev/nvidiactl",))),
        (["dev/nvidia-caps/nvidia-cap1"], Traces(("/dev/nvidia-caps",))),
        (["dev/nvhost-gpu"], Traces(("/dev/nvhost-gpu",))),  # Tegra
        (["dev/dxg"], Traces()),  # WSL with a GPU of another vendor
        (["dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"], Traces(("/dev/dxg",))),
        (
            ["proc/driver/nvidia/gpus/0000:01:00.0/information"],
            Traces((), ("/proc/driver/nvidia/gpus/0000:01:00.0",)),
        ),
    ],
)
def test_nodes(files: list[str], traces: Traces, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert find_traces(tmp_path) == traces


@pytest.mark.parametrize(
    ("vendor", "kind", "is_one"),
    [
        ("0x10de", "0x030200", True),
        ("0x10de", "0x030000", True),
        ("0x10de", "0x040300", False),  # the audio function of a GPU
        ("0x8086", "0x030000", False),
    ],
)
def test_the_pci_bus(vendor: str, kind: str, is_one: bool, tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    (device.parent / "0000:02:00.0").mkdir()  # unplugged while it was looked at
    assert bool(find_traces(tmp_path).machine) == is_one


@pytest.mark.parametrize(
    ("lines", "build", "words"),
    [
        ("cuda = '13.0'\nhip = None", TorchBuild("2.11.0", "13.0"), "for CUDA 13.0"),
        ("cuda = None\nhip = '6.4'", TorchBuild("2.11.0", None, "6.4"), "for ROCm 6.4"),
        ("", TorchBuild("2.11.0"), "without CUDA"),
    ],
)
def test_torchs_build_is_read_without_importing_it(
    lines: str, build: TorchBuild, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.11.0'\n{lines}\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert torch_build() == build
    assert str(build) == f"torch 2.11.0 is built {words}"


def test_the_installed_torch_says_the_same_of_itself() -> None:
    torch = pytest.importorskip("torch")
    assert torch_build() == TorchBuild(torch.__version__, torch.version.cuda, torch.version.hip)
