import pytest

from serve.cluster import ServerError, _environment, _start


@pytest.mark.parametrize(("gpus", "off"), [(0, None), (2, "0")])
def test_the_hosts_memory_ends_no_replica_of_a_gpu(gpus: int, off: str | None) -> None:
    """GPU finding 9: Ray's memory monitor reads a virtual machine's memory before it has grown."""
    made = _environment(loopback_only=True, direct_ingress=True, gpus=gpus)
    assert made.get("RAY_memory_monitor_refresh_ms") == off


@pytest.mark.parametrize(
    ("faults", "cleared", "said"),
    [
        ([], 0, None),
        (["The current node timed out during startup."], 1, None),
        (["timed out", "timed out"], 1, "Ray did not start in time, 2 times"),
        (["no such address"], 0, "Ray cannot start: no such address"),  # would fail again
    ],
)
def test_ray_that_did_not_come_up_in_time_is_started_once_more(
    faults: list[str], cleared: int, said: str | None
) -> None:
    """F23."""
    left, clears = list(faults), []

    def start() -> None:
        if left:
            raise RuntimeError(left.pop(0))

    if said is None:
        _start(start, lambda: clears.append(1))
    else:
        with pytest.raises(ServerError, match=said):
            _start(start, lambda: clears.append(1))
    assert len(clears) == cleared
