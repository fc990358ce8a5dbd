"""What a GPU cannot tell, what befalls it, whose memory it holds: told with cause and remedy."""

from typing import Any

import pytest

UUID = "GPU-{:08d}-0000-0000-0000-000000000000"

# Opens the GPUs that argv's second value names, waits for so many faults, tells all there is.
TELLER = """
import json, os, sys, time, msgspec
from profiles.devices.nvidia.reader import open_gpus
_, asked = json.loads(sys.argv[1])
begin_s = time.monotonic()
clock = lambda: time.monotonic() - begin_s
with open_gpus("n1", only=asked.get("only", ()), root_pid=os.getpid()) as nvml:
    told = {"count": len(nvml), "absent": nvml.absent, "remedy": nvml.remedy, "faults": []}
    nvml.watch_xids(clock)
    told["states"] = msgspec.to_builtins(nvml.states(clock, "begin"))
    while True:
        samples = nvml.sample(clock, clock())
        told.setdefault("first", msgspec.to_builtins(samples))
        told["processes"] = msgspec.to_builtins(nvml.processes(clock))
        told["faults"] += [tuple(fault) for fault in nvml.faults()]
        if len(told["faults"]) >= asked.get("faults", 0) or clock() > 20:
            break
        time.sleep(0.01)
    told["last"] = msgspec.to_builtins(samples)
    told["end"] = msgspec.to_builtins(nvml.states(clock, "end"))
    told["calls"] = sorted(nvml.calls())
print(json.dumps(told))
"""


@pytest.fixture
def tell(read_gpus: Any) -> Any:
    def run(script: str, **asked: Any) -> Any:
        return read_gpus(script, (), asked, code=TELLER)

    return run


def test_what_a_gpu_cannot_tell_is_named_with_the_reason(tell: Any) -> None:
    told = tell(
        "- gpus 4\n* gpm 1\n"
        "1 unsupported util field:82\n1 gpm 0\n"  # a GPU before Hopper, without HBM
        "2 error:fields 13\n2 error:gpm 13\n"  # an old driver
        "3 error:gpm 4\n"  # counters for administrators only
    )
    unable = [state["unable"] for state in told["states"]]
    assert unable[0] == {}
    gpm = ("sm_active_pct", "sm_occupancy_pct", "tensor_pct", "dram_pct")
    assert unable[1]["util_pct"] == unable[1]["mem_temp_c"] == "this GPU does not have it"
    assert all("Hopper" in unable[1][name] for name in gpm)
    assert all("update the NVIDIA driver" in unable[2][name] for name in (*gpm, "energy_j"))
    assert "power_w" not in unable[2]  # its own call still serves
    assert all("NVreg_RestrictProfiling" in unable[3][name] for name in gpm)
    assert all(sample[name] is None for sample in told["first"][1:] for name in gpm)
    assert told["faults"] == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(9, "load its module"), (12, "install the NVIDIA driver"), (28, "docker run --gpus all")],
)
def test_no_driver_is_told_with_its_remedy(tell: Any, code: int, remedy: str) -> None:
    told = tell(f"- init {code}\n")
    assert told["count"] == 0
    assert told["absent"]
    assert remedy in told["remedy"]


def test_error_counts_before_and_after(tell: Any) -> None:
    told = tell(
        "- gpus 2\n0 ecc_corrected 3\n0 rows_corrected 1\n0 at 0.3 ecc_uncorrected 2\n"
        "0 at 0.3 rows_pending 1\n1 unsupported field:3 field:4\n0 xid 0.5 48\n",
        faults=1,
    )
    begin, end = told["states"], told["end"]
    assert (begin[0]["ecc_corrected"], begin[0]["ecc_uncorrected"]) == (3, 0)
    assert (begin[0]["rows_corrected"], begin[0]["rows_pending"]) == (1, False)
    assert (end[0]["ecc_uncorrected"], end[0]["rows_pending"]) == (2, True)
    assert (end[1]["ecc_corrected"], end[1]["rows_failed"]) == (None, False)
    assert (begin[0]["when"], end[0]["when"]) == ("begin", "end")


def test_xids_of_any_gpu_are_told_with_their_time_and_meaning(tell: Any) -> None:
    told = tell("- gpus 2\n1 xid 0.4 31\n0 xid 0.2 79\n0 lost_after_s 0.19\n", faults=3)
    lost, first, second = told["faults"]
    assert lost[0] == "gpu_lost"
    # the fallen GPU cannot tell its UUID any more, and the XID is still known to be its
    assert (first[0], first[2:4]) == ("xid", [UUID.format(0), 79])
    assert "fallen off the bus" in first[1]
    assert (second[0], second[2:4]) == ("xid", [UUID.format(1), 31])
    assert second[4] - first[4] == pytest.approx(0.2, abs=0.1)


def test_gpus_without_events_are_told(tell: Any) -> None:
    (fault,) = tell("- gpus 3\n1 error:events 3\n2 error:events 3\n")["faults"]
    assert fault[:2] == ["xids_unread", "no XIDs of GPU 1, 2: this GPU does not have it"]


def test_a_driver_too_old_to_wait_for_events_is_told_once(tell: Any) -> None:
    (fault,) = tell("- gpus 2\n- wait 13\n", faults=1)["faults"]
    assert fault[0] == "xids_unread"
    assert "driver too old for this call" in fault[1]
    assert "update the NVIDIA driver" in fault[1]


def test_a_uuid_that_is_not_there_is_told_and_the_others_are_read(tell: Any) -> None:
    told = tell("- gpus 2\n", only=[UUID.format(1)[:12], "GPU-nowhere"])
    assert [sample["uuid"] for sample in told["first"]] == [UUID.format(1)]
    (fault,) = told["faults"]
    assert fault[0] == "gpu_unknown"
    assert "GPU-nowhere" in fault[1]
    assert UUID.format(0) in fault[1]


def test_a_gpu_may_be_named_by_a_mig_instance_of_it(tell: Any) -> None:
    told = tell("- gpus 3\n1 mig_uuid MIG-a\n1 mig_uuid MIG-b\n", only=["MIG-b"])
    assert [sample["uuid"] for sample in told["first"]] == [UUID.format(1), "MIG-a", "MIG-b"]
    assert told["faults"] == []


def test_memory_by_process(tell: Any) -> None:
    # process 1 is there and not ours; the reader itself is its own root
    told = tell("- gpus 2\n0 process 1 5000000000\n1 process 1 7000000000\n")
    assert [(one["uuid"], one["mem_used_bytes"]) for one in told["processes"]] == [
        (UUID.format(0), 5_000_000_000),
        (UUID.format(1), 7_000_000_000),
    ]
    assert {one["ours"] for one in told["processes"]} == {False}
    assert all(one["name"] for one in told["processes"])
    assert told["faults"] == []


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("0 process 4194300 5000000000\n", "1 of its processes cannot be seen"),
        ("0 mem_used 9000000000\n", "8.4 GiB are in use by no process"),
    ],
)
def test_a_container_without_the_hosts_processes(tell: Any, script: str, cause: str) -> None:
    (fault,) = tell(script)["faults"]
    assert fault[0] == "processes_hidden"
    assert cause in fault[1]
    assert "--pid=host" in fault[1]


def test_processes_that_may_not_be_read(tell: Any) -> None:
    (fault,) = tell("0 error:processes 4\n")["faults"]
    assert fault[0] == "processes_hidden"
    assert "no permission" in fault[1]


def test_mig_instances_are_read_beside_their_gpu(tell: Any) -> None:
    told = tell(
        "- gpus 2\n1 mig_uuid MIG-a\n1 mig_uuid MIG-b\n1 unsupported util\n1 gpm 1\n"
        "1 process 1 2000000000\n1 mem_used 3000000000\n"
    )
    parent = UUID.format(1)
    assert [(one["index"], one["uuid"], one["parent_uuid"]) for one in told["first"]] == [
        (0, UUID.format(0), None),
        (1, parent, None),
        (1, "MIG-a", parent),
        (1, "MIG-b", parent),
    ]
    assert told["first"][2]["mem_used_bytes"] == 3_000_000_000
    assert told["first"][2]["energy_j"] is None  # of the whole GPU only
    assert {one["uuid"] for one in told["processes"]} == {"MIG-a", "MIG-b"}


def test_every_call_is_timed(tell: Any) -> None:
    calls = tell("")["calls"]
    assert {"fields", "util_pct", "mem_used_bytes", "temp_c"} <= set(calls)
