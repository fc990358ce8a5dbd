import socket

import pytest

from loadtest.errors import TargetError
from loadtest.target import ask_models, check_port_free, free_port, is_healthy, normalize_url
from tests.loadtest.conftest import StartServer


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://api.example.com/v1", "https://api.example.com"),
        ("https://example.com/prefix/v1/", "https://example.com/prefix"),
    ],
)
def test_urls_are_normalized(written: str, url: str) -> None:
    assert normalize_url(written) == url


@pytest.mark.parametrize("written", ["ftp://x", "http://", "http://x:99999", ""])
def test_what_is_no_url_is_refused(written: str) -> None:
    with pytest.raises(TargetError, match="is no URL such as"):
        normalize_url(written)


def test_a_server_tells_its_model(image_server: StartServer) -> None:
    url = image_server(models=["a", "b"])
    assert ask_models(url, None, None, "KEY").model == "a"
    assert ask_models(url, None, "b", "KEY").model == "b"
    with pytest.raises(TargetError, match="has no model 'c'; it has: a, b"):
        ask_models(url, None, "c", "KEY")
    assert is_healthy(url) is False  # it has no /health: 404


def test_a_server_that_lists_nothing_is_taken_at_its_word(image_server: StartServer) -> None:
    assert ask_models(image_server(models=None), None, "dall-e-3", "KEY").model == "dall-e-3"


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "KEY is not set, and the server asks for a key"), ("no", "KEY is not accepted")],
)
def test_keys_are_checked_before_any_load(
    image_server: StartServer, key: str | None, said: str
) -> None:
    url = image_server(key="secret")
    assert ask_models(url, "secret", None, "KEY").model == "other-model"
    with pytest.raises(TargetError, match=said) as caught:
        ask_models(url, key, None, "KEY")
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(TargetError, match=r"cannot reach http://127.0.0.1:.*refused"):
        ask_models(f"http://127.0.0.1:{free_port()}", None, None, "KEY")


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TargetError, match=rf"port {port} cannot be used.*--port"):
            check_port_free(port)
        assert is_healthy(f"http://127.0.0.1:{port}", timeout_s=0.2) is None
    check_port_free(free_port())


def test_a_redirect_is_refused_so_that_the_key_stays(image_server: StartServer) -> None:
    url = image_server(redirect="http://127.0.0.1:9")
    with pytest.raises(TargetError, match=r"redirects to http://127.0.0.1:9: give --host"):
        ask_models(url, "secret", None, "KEY")


def test_a_proxy_of_the_environment_is_not_asked(
    image_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask_models(image_server(), None, None, "KEY").model == "other-model"
