"""Which GPUs CUDA_VISIBLE_DEVICES leaves."""

from typing import Any

import pytest

from profiles.devices.visible import select_visible

UUID = "GPU-{:08d}-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("0,-1,2", [0]),  # the list ends at the first that fits nothing
        ("0,3,1", [0]),
        ("1,1", []),  # CUDA's rule: repeated, none
        ("GPU-bb", [1]),  # the beginning of a UUID
        ("GPU-bbb,GPU-aaa", [1, 0]),
        ("GPU-a", []),  # of two
        ("GPU-zzz", []),
    ],
)
def test_select_visible(spec: str | None, chosen: list[int]) -> None:
    assert select_visible(["GPU-aaa", "GPU-bbb", "GPU-abc"], spec) == chosen


VISIBLE = """
import json, sys, msgspec
from profiles.devices.visible import visible_gpus
gpus = visible_gpus("n1")
print(json.dumps({"gpus": [(gpu.index, gpu.uuid, gpu.name, gpu.mem_total_bytes) for gpu in gpus]}))
"""


@pytest.mark.parametrize(
    ("spec", "uuids"),
    [
        ("1", [UUID.format(1)]),
        (UUID.format(1) + "," + UUID.format(0), [UUID.format(1), UUID.format(0)]),
        ("", []),
        ("MIG-1b,MIG-1a", ["MIG-1b"]),  # MIG-1a is not there: the list ends
        ("MIG-GPU-x/1/0", []),
    ],
)
def test_visible_gpus_are_those_of_the_environment(
    read_gpus: Any, spec: str, uuids: list[str]
) -> None:
    script = "- gpus 2\n1 mig_uuid MIG-1b\n* error:util 3\n"
    told = read_gpus(script, code=VISIBLE, CUDA_VISIBLE_DEVICES=spec)
    assert [gpu[1] for gpu in told["gpus"]] == uuids
    assert told["stderr"] == ""


def test_a_mig_instance_is_described_as_itself(read_gpus: Any) -> None:
    script = "- gpus 2\n1 mig_uuid MIG-1b\n1 mem_total 80000000000\n1 name NVIDIA H100\n"
    told = read_gpus(script, code=VISIBLE, CUDA_VISIBLE_DEVICES="MIG-1b")
    assert told["gpus"] == [[1, "MIG-1b", "NVIDIA H100 MIG 1g", 10_000_000_000]]


def test_visible_gpus_warns_and_goes_on_without(read_gpus: Any) -> None:
    told = read_gpus("- init 18\n", code=VISIBLE)
    assert told["gpus"] == []
    assert told["stderr"].startswith("warning: NVML cannot be used")
    assert told["stderr"].count("\n") == 1
