"""Why there was no answer, in words that help."""

import errno
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from loadtest.client.single_request import Unanswered, ask, reason
from loadtest.client.target import free_port
from tests.loadtest.odd_server import answer, images, serving


def distrusted(why: str) -> ssl.SSLCertVerificationError:
    err = ssl.SSLCertVerificationError(1, "certificate verify failed")
    err.verify_message = why
    return err


def tls(why: str) -> ssl.SSLError:
    err = ssl.SSLError(1, why)
    err.reason = why
    return err


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (distrusted("self-signed certificate"), "SSL_CERT_FILE=FILE viralload ..."),
        (distrusted("unable to get local issuer certificate"), "SSL_CERT_FILE=FILE"),
        (distrusted("certificate has expired"), "have it renewed"),
        (distrusted("Hostname mismatch, certificate is not valid for 'x'"), "give --host the name"),
        (tls("WRONG_VERSION_NUMBER"), "it does not speak TLS at that port: give --host http://"),
        (tls("NO_PROTOCOLS_AVAILABLE"), "TLS failed (NO_PROTOCOLS_AVAILABLE)"),
        (OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
    ],
)
def test_an_error_of_a_connection_names_its_remedy(err: Exception, said: str) -> None:
    assert said in reason(err)


def test_nobody_there_may_be_down_and_another_protocol_is_not() -> None:
    with pytest.raises(Unanswered, match="Connection refused") as caught:
        ask(f"http://127.0.0.1:{free_port()}/", {}, timeout_s=5.0)
    assert caught.value.may_be_down
    with (
        serving(lambda _: b"SSH-2.0-x\r\n") as url,
        pytest.raises(Unanswered, match="SSH") as other,
    ):
        ask(url, {}, b"{}", timeout_s=5.0)
    assert not other.value.may_be_down


def test_a_post_and_its_bound() -> None:
    with serving(lambda asked: answer(200, asked.body, f"X-Path: {asked.target}")) as url:
        found = ask(f"{url}/a%20b?c=d", {"X-A": "1"}, b'{"n": 1}', timeout_s=5.0, most_bytes=8)
        assert (found.status, found.body, found.headers["x-path"]) == (
            200,
            b'{"n": 1}',
            "/a%20b?c=d",
        )
        with pytest.raises(Unanswered, match="longer than the 7 bytes"):
            ask(url, {}, b'{"n": 1}', timeout_s=5.0, most_bytes=7)


def test_tls_is_not_spoken_where_plain_http_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def refuse() -> None:
            with door.accept()[0] as plug:
                plug.recv(1 << 16)
                plug.sendall(answer(400, b"no such method"))

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(Unanswered, match="does not speak TLS at that port: give --host http:"):
            ask(f"https://127.0.0.1:{door.getsockname()[1]}/", {}, timeout_s=5.0)


def test_a_certificate_of_ones_own_is_refused_with_the_remedy_and_then_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    door = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            plug = door.accept()[0]
            try:
                with context.wrap_socket(plug, server_side=True) as secure:
                    secure.recv(1 << 16)
                    secure.sendall(answer(200, {"data": []}))
            except OSError:
                plug.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"https://localhost:{door.getsockname()[1]}/v1/models"
    with pytest.raises(Unanswered, match="self-signed certificate; if you trust it, name"):
        ask(url, {}, timeout_s=5.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    assert ask(url, {}, timeout_s=5.0).status == 200
    thread.join(5)
    door.close()


def test_images_are_made_as_asked() -> None:  # the servers of these tests do not lie by accident
    with serving(lambda asked: answer(200, images(asked))) as url:
        found = ask(url, {}, b'{"n": 2, "size": "8x8"}', timeout_s=5.0)
    assert found.body.count(b"b64_json") == 2
