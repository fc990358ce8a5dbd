import pytest

from serve.cluster import _environment


@pytest.mark.parametrize(("gpus", "off"), [(0, None), (2, "0")])
def test_the_hosts_memory_ends_no_replica_of_a_gpu(gpus: int, off: str | None) -> None:
    """GPU finding 9: Ray's memory monitor reads a virtual machine's memory before it has grown."""
    made = _environment(loopback_only=True, direct_ingress=True, gpus=gpus)
    assert made.get("RAY_memory_monitor_refresh_ms") == off
