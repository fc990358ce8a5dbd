"""A GPU that fell off the bus and came back: NVML is opened anew, and all goes on."""

from typing import Any

import pytest

UUID = "GPU-{:08d}-0000-0000-0000-000000000000"

# Cycles on a clock that jumps by `step_s` each, XIDs waited for, until so many faults were told or
# so many cycles are over; tells what came of it.
TELLER = """
import ctypes, json, sys, time, msgspec
from profiles.devices.nvidia.reader import open_gpus
_, asked = json.loads(sys.argv[1])
begin_s = time.monotonic()
now_s = 0.0
with open_gpus("n1") as nvml:
    told = {"faults": [], "cycles": []}
    nvml.watch_xids(lambda: time.monotonic() - begin_s)
    while len(told["faults"]) < asked.get("faults", 99) and now_s < asked.get("until_s", 1e9):
        assert time.monotonic() - begin_s < 20, told["faults"]
        now_s += asked["step_s"]
        told["cycles"].append(msgspec.to_builtins(nvml.sample(lambda: now_s, now_s)))
        told["faults"] += [tuple(fault) for fault in nvml.faults()]
        time.sleep(0.002)
    nvml.states(lambda: now_s, "end")
    told["sessions"] = ctypes.CDLL("libnvidia-ml.so.1").fake_sessions()
print(json.dumps(told))
"""
# To open a GPU takes some forty calls, a cycle a dozen, to ask a lost one two
FALLEN = "{0} lost_after_calls 200\n{0} back_after_calls 206\n{0} lost_for_session 1\n"


@pytest.fixture
def tell(read_gpus: Any) -> Any:
    def run(script: str, **asked: Any) -> Any:
        return read_gpus(script, (), {"step_s": 100.0} | asked, code=TELLER)

    return run


def fallen(*gpus: int) -> str:
    return "".join(FALLEN.format(gpu) for gpu in gpus)


def test_a_gpu_off_the_bus_is_taken_up_by_its_uuid_in_a_new_session(tell: Any) -> None:
    told = tell(
        f"- gpus 3\n{fallen(1)}1 xid 0 79\n* gpm 1\n2 mig_uuid MIG-a\n0 xid 0.6 31\n1 xid 0.7 45\n",
        faults=5,
    )
    assert [kind for kind, *_ in told["faults"] if kind != "xid"] == ["gpu_lost", "gpu_back"]
    (back,) = [detail for kind, detail, uuid, *_ in told["faults"] if kind == "gpu_back"]
    assert back == f"GPU 1 ({UUID.format(1)}) answers again, to NVML opened anew"
    # those of 0.6 and 0.7 s come to the new session, where the machine is not held up so long
    assert {(uuid, code) for kind, _, uuid, code, _ in told["faults"] if kind == "xid"} == {
        (UUID.format(1), 79), (UUID.format(0), 31), (UUID.format(1), 45)
    }  # fmt: skip
    seen = {tuple(sample["uuid"] for sample in cycle) for cycle in told["cycles"]}
    others = (UUID.format(0), UUID.format(2), "MIG-a")
    assert seen == {others, (UUID.format(0), UUID.format(1), *others[1:])}  # they never paused
    last = told["cycles"][-1]
    assert all(one["mem_used_bytes"] and one["power_w"] == 350.0 for one in last[:3])
    assert last[1]["index"] == 1


def test_gpus_that_fell_together_share_the_new_session(tell: Any) -> None:
    told = tell(f"- gpus 3\n{fallen(0, 2)}", faults=4)
    assert [kind for kind, *_ in told["faults"]] == ["gpu_lost"] * 2 + ["gpu_back"] * 2
    # one in vain for each cycle until it was back, and the one that served both
    served = sum(len(cycle) < 3 for cycle in told["cycles"])
    assert told["sessions"] <= 1 + served
    assert [len(cycle) for cycle in told["cycles"][-1:]] == [3]


def test_a_driver_that_is_loaded_again_loses_all_for_a_while(tell: Any) -> None:
    told = tell(f"- gpus 2\n{fallen(0)}- init_fails 9 3\n", faults=4)
    kinds = [(kind, uuid) for kind, _, uuid, _, _ in told["faults"]]
    assert kinds[:2] == [("gpu_lost", UUID.format(0)), ("gpu_lost", UUID.format(1))]
    assert "Driver Not Loaded" in told["faults"][1][1]
    assert sorted(kinds[2:]) == [("gpu_back", UUID.format(0)), ("gpu_back", UUID.format(1))]
    assert [] in told["cycles"]
    assert len(told["cycles"][-1]) == 2


def test_a_gpu_without_events_comes_back_too(tell: Any) -> None:
    told = tell(
        "- gpus 1\n0 error:events 3\n0 lost_after_calls 200\n0 back_after_calls 206\n", faults=3
    )
    assert [kind for kind, *_ in told["faults"]] == ["xids_unread", "gpu_lost", "gpu_back"]


def test_a_gpu_that_never_comes_back_is_asked_ever_less_often(tell: Any) -> None:
    told = tell("- gpus 2\n0 lost_after_calls 200\n", step_s=1.0, until_s=400.0)
    assert [kind for kind, *_ in told["faults"]] == ["gpu_lost"]
    lost_at = next(at for at, cycle in enumerate(told["cycles"]) if len(cycle) == 1)
    # after 5, 10, 20 and 40 s, then each minute: at 5, 15, 35, 75, 135, ...
    expected = [since for since in (5, 15, 35, *range(75, 400, 60)) if lost_at + since < 400]
    assert told["sessions"] == 1 + len(expected)
    assert all([one["index"] for one in cycle] == [1] for cycle in told["cycles"][lost_at:])
