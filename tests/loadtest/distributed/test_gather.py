from loadtest.client.address import is_loopback
from loadtest.distributed.gather import Workers, invitation, token_for


def workers(host: str, port: int = 5557) -> Workers:
    return Workers(count=2, host=host, port=port, wait_s=1.0)


def test_what_only_this_machine_reaches() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [
        True, True, True, True,
    ]  # fmt: skip
    others = ("0.0.0.0", "10.0.0.2", "gpu-node", "", None)
    assert not any(is_loopback(host) for host in others)


def test_a_token_is_made_where_strangers_could_come() -> None:
    near, far = workers("127.0.0.1"), workers("10.0.0.2", 6000)
    assert token_for(near, None) == ""
    assert token_for(far, "mine") == token_for(near, "mine") == "mine"
    fresh = token_for(far, None)
    assert len(fresh) == 16
    assert fresh != token_for(far, None)
    said = invitation(far, fresh, None)
    assert said.endswith(f"VIRALLOAD_TOKEN={fresh} viralload worker 10.0.0.2:6000")
    # whoever set a token knows it; it is not printed
    assert "mine" not in invitation(far, "mine", "mine")
    assert invitation(near, "", None).endswith(": viralload worker 127.0.0.1")
    assert invitation(workers("fd00::2"), "", None).endswith("viralload worker [fd00::2]")
