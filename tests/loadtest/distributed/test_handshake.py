import msgspec
import pytest

from loadtest.distributed.handshake import NONCE_CHARS, Meeting, nonce

MEETING = Meeting(
    worker="worker-1",
    worker_nonce="1" * 64,
    master_nonce="2" * 64,
    job_sha256="3" * 64,
    schedule_sha256="4" * 64,
)


def test_nonces_are_long_and_differ() -> None:
    assert len({nonce() for _ in range(100)}) == 100
    assert len(nonce()) == NONCE_CHARS


@pytest.mark.parametrize("token", ["", "t", "größe", "\ud800"[:0] + "x" * 1000])
def test_each_proves_with_its_own_word(token: str) -> None:
    assert MEETING.proves(token, "worker", MEETING.proof(token, "worker"))
    assert MEETING.proves(token, "master", MEETING.proof(token, "master"))
    # what a master heard of its worker is none of its own
    assert not MEETING.proves(token, "master", MEETING.proof(token, "worker"))
    assert not MEETING.proves(token + "?", "worker", MEETING.proof(token, "worker"))


@pytest.mark.parametrize("field", Meeting.__struct_fields__)
def test_a_proof_is_about_everything(field: str) -> None:
    other = msgspec.structs.replace(MEETING, **{field: "5" * 64})
    assert not other.proves("t", "worker", MEETING.proof("t", "worker"))


def test_words_do_not_run_into_each_other() -> None:
    one = msgspec.structs.replace(MEETING, worker='a"', worker_nonce="b")
    other = msgspec.structs.replace(MEETING, worker="a", worker_nonce='"b')
    assert one.proof("t", "worker") != other.proof("t", "worker")


@pytest.mark.parametrize("proof", ["", "0" * 64, "größe", "\ud800"])
def test_whatever_is_said_is_compared(proof: str) -> None:
    assert not MEETING.proves("t", "worker", proof)
