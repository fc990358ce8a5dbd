"""What benchmarks tell of where they ran."""

import pytest

from benchmarks import options
from benchmarks.options import environment, versions
from profiles.schema import GpuInfo


def test_an_absent_package_has_no_version() -> None:
    """GPU finding 7: asked after the measurement, an absent package lost the figures."""
    assert versions(["msgspec", "nosuch-package"])["nosuch-package"] is None
    assert str(versions(["msgspec", "nosuch-package"])["msgspec"])[0].isdigit()


def test_the_gpus_and_their_driver_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GpuInfo(node="n", index=0, uuid="GPU-a", name="NVIDIA H200", driver="580.1")
    monkeypatch.setattr(options, "every_gpu", lambda _: [gpu])
    told = environment("benchmarks.sampler")
    assert (told["gpus"], told["driver"]) == (["NVIDIA H200"], "580.1")
    monkeypatch.setattr(options, "every_gpu", lambda _: [])
    told = environment("benchmarks.sampler")
    assert (told["gpus"], told["driver"]) == ([], None)
