import socket

import msgspec
import pytest

from loadtest.client.address import parse
from loadtest.client.credentials import NONE, Credentials
from loadtest.client.target import Offer, check_port_free, free_port, is_healthy
from loadtest.client.target import ask_models as ask_address
from loadtest.errors import TargetError
from profiles.schema import DeviceLimits
from tests.loadtest.conftest import StartServer
from tests.loadtest.odd_server import Asked, Habit, answer, serving


def ask_models(url: str, key: str | None = None, model: str | None = None) -> Offer:
    """What the server says, without what was said of it."""
    opened = NONE
    if key is not None:
        headers = {"Authorization": f"Bearer {key}"}
        opened = Credentials(headers=headers, refused="KEY is not accepted")
    else:
        opened = Credentials(refused="KEY is not set, and the server asks for a key")
    return msgspec.structs.replace(ask_address(parse(url), opened, model), said=())


def test_a_server_tells_its_model(image_server: StartServer) -> None:
    url = image_server(models=["a", "b"])
    assert ask_models(url).model == "a"
    assert ask_models(url, model="b").model == "b"
    with pytest.raises(TargetError, match="has no model 'c'; it has: a, b"):
        ask_models(url, model="c")
    assert is_healthy(url) is False  # it has no /health: 404


def test_a_server_tells_its_limits(image_server: StartServer) -> None:
    limits = {"device_name": "NVIDIA H200", "matmul_flop_per_s": 7.9e14, "copy_bytes_per_s": 4.3e12}
    told = {"replicas": 2, "limits": limits, "flop_per_image": 3.47e13, "someday": [1]}
    offer = ask_models(image_server(told=told))
    assert (offer.model, offer.replicas, offer.flop_per_image) == ("other-model", 2, 3.47e13)
    assert offer.limits == DeviceLimits(
        device_name="NVIDIA H200", matmul_flop_per_s=7.9e14, copy_bytes_per_s=4.3e12
    )


@pytest.mark.parametrize(
    "told",
    [
        "nonsense",
        [1, 2],
        {"limits": "fast", "flop_per_image": "a lot"},
        {"limits": {"matmul_flop_per_s": -1.0}, "flop_per_image": float("nan")},
        {"limits": [3], "flop_per_image": float("inf")},
        {"limits": {"matmul_flop_per_s": float("inf"), "threads": 0}, "flop_per_image": 0},
        {"limits": {"matmul_flop_per_s": True}, "flop_per_image": {}},
        {"replicas": "many", "limits": None},  # a wrong field beside them
    ],
)
def test_nonsense_of_a_server_is_not_told(image_server: StartServer, told: object) -> None:
    offer = ask_models(image_server(told=told))
    # that it tells anything there says whose kind it is, not that the figures are true
    assert offer == Offer(model="other-model", is_viralload=isinstance(told, dict))


def test_a_wrong_field_leaves_the_limits_told(image_server: StartServer) -> None:
    told = {"replicas": "many", "flop_per_image": 5.0}
    assert ask_models(image_server(told=told)).flop_per_image == 5.0


def test_a_server_that_lists_nothing_is_taken_at_its_word(image_server: StartServer) -> None:
    assert ask_models(image_server(models=None), model="dall-e-3").model == "dall-e-3"


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "KEY is not set, and the server asks for a key"), ("no", "KEY is not accepted")],
)
def test_keys_are_checked_before_any_load(
    image_server: StartServer, key: str | None, said: str
) -> None:
    url = image_server(key="secret")
    assert ask_models(url, "secret").model == "other-model"
    with pytest.raises(TargetError, match=said) as caught:
        ask_models(url, key)
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(TargetError, match=r"cannot reach http://127.0.0.1:.*refused"):
        ask_models(f"http://127.0.0.1:{free_port()}")


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
        ask_models(url, "secret")


@pytest.mark.parametrize("location", ["http://[::1", "//[", "http://x]y/"])
def test_a_redirect_to_no_url_is_refused_in_words(location: str) -> None:
    moved = answer(301, b"", f"Location: {location}")
    with (
        serving(lambda _: b"", lambda _: moved) as url,
        pytest.raises(TargetError, match="redirects to no URL"),
    ):
        ask_models(url)


def test_a_proxy_of_the_environment_is_not_asked(
    image_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask_models(image_server()).model == "other-model"


ONE = {"data": [{"id": "one"}]}


def listing(**paths: object) -> Habit:
    """Lists at these paths (_ for /), 404 elsewhere; bytes are a whole answer."""

    def habit(asked: Asked) -> bytes:
        told = paths.get(asked.path.strip("/").replace("/", "_"))
        if asked.path.endswith("/"):
            told = paths.get(asked.path.strip("/").replace("/", "_") + "_")
        return told if isinstance(told, bytes) else answer(200 if told else 404, told or {})

    return habit


@pytest.mark.parametrize(
    ("models", "host", "path"),
    [
        (listing(v1_models=ONE), "", "/v1/images/generations"),
        (listing(models=ONE), "", "/images/generations"),
        (listing(models={"model_path": "x", "task_type": "T2I"}), "", "/v1/images/generations"),
        (listing(), "", "/v1/images/generations"),
        (listing(v3_models=ONE), "/v3", "/v3/images/generations"),
        (listing(), "/v3/", "/v3/images/generations"),
        (listing(a_openai_models=ONE), "/a/openai", "/a/openai/images/generations"),
        (listing(a_v1_models=ONE), "/a", "/a/v1/images/generations"),
        (listing(), "/a", "/a/images/generations"),
        (listing(v1_models=ONE), "/v1/images/generations/", "/v1/images/generations/"),
        (listing(v1_models=ONE), "/v1?api-version=2", "/v1/images/generations?api-version=2"),
        (listing(v1_models=answer(307, b"", "Location: /v1/models/"), v1_models_=ONE), "",
         "/v1/images/generations"),  # the slash alone
        (listing(v1_models=[{"id": "one"}]), "", "/v1/images/generations"),  # a bare list
    ],
)  # fmt: skip
def test_the_api_is_where_its_list_is(models: Habit, host: str, path: str) -> None:
    with serving(lambda _: b"", models) as url:
        offer = ask_address(parse(url + host), NONE, None)
    assert offer.path == path
    listed = offer.model is not None
    first = path == parse(url + host).images(parse(url + host).bases()[0])
    assert any("images are asked for at" in one for one in offer.said) is not (listed and first)


def test_half_a_letter_is_no_name() -> None:
    names = answer(200, b'{"data": [{"id": "\\ud800"}, {"id": ""}, {"id": 7}, 8, {"id": "good"}]}')
    with serving(lambda _: b"", lambda _: names) as url:
        assert ask_address(parse(url), NONE, None).model == "good"
