"""What strangers say to Locust's master, kept from doing more than they must.

Locust's own words are neither encrypted nor authenticated: whoever reaches the port can pose as a
worker and end the run. But one frame that is no message need not deafen its master for good, as in
Locust 2.47, nor a huge one fill the memory.
"""

# mypy: disallow-untyped-calls=False
# Parts of Locust are untyped.

from collections.abc import Callable
from typing import Any

import zmq
from locust.exception import RPCError, RPCReceiveError, RPCSendError
from locust.rpc import zmqrpc
from locust.rpc.protocol import Message

from loadtest.distributed.protocol import MAX_BYTES

UNREADABLE = "viralload_unreadable"


def bound_frames() -> None:
    """Have Locust's sockets, from now on, drop whoever sends what is too long or no message."""
    if hasattr(zmqrpc.BaseSocket, "viralload_bounds"):
        return
    socket: Any = zmqrpc.BaseSocket
    words: Any = Message
    begin, receive, read = socket.__init__, socket.recv_from_client, words.unserialize.__func__

    def set_up(self: Any, sock_type: int, ipv4_only: bool) -> None:
        begin(self, sock_type, ipv4_only)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)

    def recv_from_client(self: Any) -> tuple[str, Message]:
        try:
            client_id, message = receive(self)
        except RPCReceiveError as err:
            if err.addr is not None:
                raise
            return "", Message(UNREADABLE, None, "")  # Locust would log each
        return client_id, message

    def unserialize(cls: type[Message], data: bytes) -> Message:
        try:
            message: Message = read(cls, data)
        except Exception:  # noqa: BLE001 - msgpack raises many, and none of them is ours
            return Message(UNREADABLE, None, "")
        return message if isinstance(message.type, str) else Message(UNREADABLE, None, "")

    socket.__init__, socket.recv_from_client = set_up, recv_from_client
    socket.viralload_bounds = MAX_BYTES
    words.unserialize = classmethod(unserialize)


def hear_on(runner: Any, note: Callable[[str], None]) -> None:
    """Have a master go on after a message that it cannot make sense of.

    Args:
        runner: Locust's master.
        note: is told of the first one.
    """
    handle = runner.handle_message
    is_told = False

    def told_once() -> None:
        nonlocal is_told
        if not is_told:
            is_told = True
            note("a message at the workers' port made no sense; others like it are not told")

    def handle_message(client_id: str, message: Message) -> None:
        is_known = client_id in runner.clients or message.type in runner.custom_messages
        if not is_known and message.type != "client_ready":
            told_once()
            return
        try:
            handle(client_id, message)
        except (RPCError, RPCReceiveError, RPCSendError):
            raise  # the connection's, which Locust mends
        except Exception:  # noqa: BLE001 - whatever a stranger's words made Locust stumble over
            told_once()

    runner.handle_message = handle_message
    runner.register_message(UNREADABLE, lambda **_: told_once())
