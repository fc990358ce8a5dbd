"""F2: where a worker's key may go, and where not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from loadtest.client.address import parse
from loadtest.client.target import free_port
from loadtest.distributed import protocol
from loadtest.distributed.allowed_targets import check_target
from loadtest.errors import ConfigurationError, ViralloadError
from tests.loadtest.command import Viralload

IMAGES = "/v1/images/generations"


@pytest.mark.parametrize(
    ("base_url", "told", "has_token", "has_secret", "said"),
    [
        # no secret: whatever the master says, as it always was
        ("http://10.0.0.9:8000", None, False, False, None),
        # a secret, and a master that proved what it knows
        ("https://api.example.com", None, True, True, None),
        ("http://127.0.0.1:8000", None, True, True, None),
        ("http://[::1]:8000", None, True, True, None),
        ("http://10.0.0.9:8000", None, True, True, "unencrypted to http://10.0.0.9:8000"),
        ("http://gpu-node", None, True, True, "name it with --host http://gpu-node"),
        # a secret, and a master that proved nothing
        ("https://api.example.com", None, False, True, "the master proved nothing"),
        ("http://127.0.0.1:8000", None, False, True, "set VIRALLOAD_TOKEN on both machines"),
        # the user said where
        ("http://10.0.0.9:8000", "http://10.0.0.9:8000", False, True, None),
        ("http://10.0.0.9:8000", "10.0.0.9:8000", True, True, None),
        ("http://h:80", "http://H", True, True, None),
        ("https://h", "https://h:443/v1", True, True, None),
        ("https://h", "https://h/v1/images/generations?api-version=1", True, True, None),
        ("https://h", "http://h", True, True, "--host of this worker says http://h"),
        ("http://h:8001", "http://h:8000", False, False, "nothing was sent"),
        ("http://10.0.0.9", "http://10.0.0.8", True, True, "the run's target is http://10.0.0.9"),
        ("https://h", "https://h/other", True, True, "--host of this worker says https://h/other"),
        ("https://h.example.com", "https://h", True, True, "give both the same"),
    ],
)
def test_where_a_key_may_go(
    base_url: str, told: str | None, has_token: bool, has_secret: bool, said: str | None
) -> None:
    def check() -> None:
        check_target(
            base_url,
            IMAGES,
            told=None if told is None else parse(told),
            has_token=has_token,
            has_secret=has_secret,
        )

    if said is None:
        check()
        return
    with pytest.raises(ConfigurationError, match=said.replace(".", r"\.")):
        check()


@contextmanager
def master(answer: Callable[[dict[str, Any]], Any]) -> Iterator[int]:
    """A stranger at the port where a master should be: says what `answer` makes of questions."""
    context, port, is_over = zmq.Context(), free_port(), threading.Event()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(f"tcp://127.0.0.1:{port}")

    def serve() -> None:
        while not is_over.is_set():
            if socket.poll(20):
                who, frame = socket.recv_multipart()
                _, data, _ = msgpack.loads(frame)
                told = answer(data["question"])
                if not isinstance(told, bytes):
                    said = {"n": data["n"], "answer": protocol.pack(told)}
                    told = msgpack.dumps((protocol.ANSWER, said, ""))
                socket.send_multipart([who, told])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield port
    finally:
        is_over.set()
        thread.join()
        socket.close()
        context.term()


CHALLENGE = protocol.Challenge(nonce="0" * 64, job_sha256="1" * 64, schedule_sha256="2" * 64)


def pretends(question: dict[str, Any]) -> Any:
    if question["type"] == "hello":
        return CHALLENGE
    return protocol.Welcome(proof="3" * 64, share=0, job=b"{}", schedule_bytes=0)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            lambda _: protocol.Refusal(refused="\x1b[2J" + "x" * 10_000),
            ConfigurationError,
            "refuses this worker: ",
        ),
        (
            lambda _: protocol.Now(monotonic_s=1.0),
            ViralloadError,
            "is it the same version of viralload?",
        ),
        (lambda _: b"\xc1\xc1\xc1", protocol.MasterLostError, "has not answered"),
        (lambda _: msgpack.dumps(3), protocol.MasterLostError, "has not answered"),
        (lambda _: msgpack.dumps(("answer", 5, "")), protocol.MasterLostError, "has not answered"),
    ],
)
def test_whatever_a_stranger_says_is_one_line(
    answer: Callable[[dict[str, Any]], Any], error: type[Exception], said: str
) -> None:
    with master(answer) as port:
        channel = protocol.Channel("127.0.0.1", port, "worker-1")
        try:
            with pytest.raises(error, match=said) as caught:
                channel.ask(protocol.hello("h", "0" * 64), protocol.Challenge, timeout_s=0.3)
        finally:
            channel.close()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.e2e
def test_a_stranger_gets_no_key(tmp_path: Path) -> None:
    def pretends(question: dict[str, Any]) -> Any:
        if question["type"] == "hello":
            return protocol.Challenge(nonce="0" * 64, job_sha256="1" * 64, schedule_sha256="2" * 64)
        return protocol.Welcome(proof="3" * 64, share=0, job=b"{}", schedule_bytes=0)

    environ = {"OPENAI_API_KEY": "sk-marked", "VIRALLOAD_TOKEN": "t"}
    with master(pretends) as port:
        command = Viralload(tmp_path, ["worker", f"127.0.0.1:{port}"], environ)
        assert command.finish() == 2, command.stderr
    assert "does not know the run's token" in command.stderr
    assert "sk-marked" not in command.stderr
