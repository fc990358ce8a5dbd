import errno
import os
from typing import Any

import pytest

from loadtest.client.image_client import ImageClient


@pytest.mark.parametrize(
    ("number", "is_local"),
    [
        (errno.EMFILE, True),
        (errno.ENFILE, True),
        (errno.EADDRNOTAVAIL, True),
        (errno.ENOBUFS, True),
        (errno.ECONNREFUSED, False),
        (errno.ECONNRESET, False),
        (errno.EPIPE, False),
    ],
)
def test_whose_fault_a_socket_error_is(
    monkeypatch: pytest.MonkeyPatch, number: int, is_local: bool
) -> None:
    client = ImageClient("http://127.0.0.1:1/v1/images/generations", 5.0)

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(client, "_connect", fail)
    exchange = client.exchange()
    client.post(exchange, b"{}")
    assert exchange.error == f"[Errno {number}] {os.strerror(number)}"
    assert exchange.is_local is is_local
