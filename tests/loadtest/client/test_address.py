"""The words of --host, and what becomes of them."""

import pytest

from loadtest.client.address import Address, parse
from loadtest.errors import TargetError


@pytest.mark.parametrize(
    ("written", "asked"),
    [  # the URLs of the list of models, the likeliest first
        ("http://127.0.0.1:8000", ["http://127.0.0.1:8000/v1/models", "http://127.0.0.1:8000/models"]),
        ("127.0.0.1:8000/", ["http://127.0.0.1:8000/v1/models", "http://127.0.0.1:8000/models"]),
        (" http://h/v1\r\n", ["http://h/v1/models"]),
        ("https://api.example.com/v1", ["https://api.example.com/v1/models"]),
        ("https://h/prefix/v1/", ["https://h/prefix/v1/models"]),
        ("http://h/v3", ["http://h/v3/models"]),
        ("http://h/v1beta", ["http://h/v1beta/models"]),
        ("http://h/v1beta/openai", ["http://h/v1beta/openai/models", "http://h/v1beta/openai/v1/models"]),
        ("http://h/openai/deployments/mine", ["http://h/openai/deployments/mine/models",
                                              "http://h/openai/deployments/mine/v1/models"]),
        ("http://h/v1/images/generations", ["http://h/v1/models"]),
        ("http://h/v2/models/", ["http://h/v2/models"]),
        ("http://h/v1/chat/completions", ["http://h/v1/models"]),
        ("http://h/v1/images/edits", ["http://h/v1/models"]),
        ("http://h/v1/images/", ["http://h/v1/models"]),
        ("http://h/v1/models/sdxl", ["http://h/v1/models"]),
        ("http://h/v3/embeddings", ["http://h/v3/models"]),
        ("http://h:8000/docs", ["http://h:8000/v1/models", "http://h:8000/models"]),
        ("http://h/images/generations", ["http://h/models"]),
        ("http://h/v1?api-version=2025-01-01", ["http://h/v1/models?api-version=2025-01-01"]),
        ("http://h/bilder-größe", ["http://h/bilder-gr%C3%B6%C3%9Fe/models",
                                   "http://h/bilder-gr%C3%B6%C3%9Fe/v1/models"]),
        ("http://h/a%20b%zz", ["http://h/a%20b%25zz/models", "http://h/a%20b%25zz/v1/models"]),
        ("http://bücher.example/v1", ["http://xn--bcher-kva.example/v1/models"]),
        ("http://[::1]:8000/v1", ["http://[::1]:8000/v1/models"]),
        ("http://h/client/v4/accounts/1/ai/@cf/v1", ["http://h/client/v4/accounts/1/ai/@cf/v1/models"]),
    ],
)  # fmt: skip
def test_where_models_are_looked_for(written: str, asked: list[str]) -> None:
    address = parse(written)
    assert [address.origin + address.models(base) for base in address.bases()] == asked


@pytest.mark.parametrize(
    ("written", "base", "asked"),
    [
        ("http://h", "/v1", "/v1/images/generations"),
        ("http://h", "", "/images/generations"),
        ("http://h/v3", "/v3", "/v3/images/generations"),
        ("http://h/v1/images/generations", "/v1", "/v1/images/generations"),
        ("http://h/v1/images/generations/", "/v1", "/v1/images/generations/"),  # as it was given
        ("http://h/x?api-version=1", "/x", "/x/images/generations?api-version=1"),
        ("http://h/v1/images/generations?api-version=1", "/v1",
         "/v1/images/generations?api-version=1"),
    ],
)  # fmt: skip
def test_where_images_are_asked_for(written: str, base: str, asked: str) -> None:
    assert parse(written).images(base) == asked


@pytest.mark.parametrize(
    ("written", "user", "secret", "shown"),
    [
        ("http://ann:pa55word@h:1/v1", "ann:pa55word", "", "http://h:1/v1"),
        ("ann:pa55word@h:1", "ann:pa55word", "", "http://h:1"),
        ("http://ann:p%40%2Fword@h", "ann:p@/word", "", "http://h"),
        ("http://ann:p@ss@h", "ann:p@ss", "", "http://h"),
        ("http://t0ken@h", "t0ken", "", "http://h"),
        ("http://h/v1?key=AIza1234", None, "key=AIza1234", "http://h/v1?key=***"),
        ("http://h/v1?api-version=2&sig=a%2Fb", None, "sig=a%2Fb", "http://h/v1?api-version=2&sig=***"),
    ],
)  # fmt: skip
def test_what_opens_a_server_is_taken_off(
    written: str, user: str | None, secret: str, shown: str
) -> None:
    address = parse(written)
    assert (address.user, address.secret_query, address.shown) == (user, secret, shown)
    again = parse(address.plain)
    assert (again.user, again.secret_query, again.path) == (None, "", address.path)
    for word in filter(None, [user, secret.partition("=")[2]]):
        assert word not in f"{address!r} {address.plain} {address.shown} {address.images('')}"


@pytest.mark.parametrize(
    "written",
    [
        "ftp://x", "http://", "http://x:99999", "", "http://x:0", "http://x:port", "http://[::1",
        "http://h/a b", "http://h\r\nX: y", "http://h/\x1b[31m", "http://h/v1#models",
        "http://“h”", "http://" + "a" * 80 + ".ä", "http:/h", "https//h", "http:h", "::1",
        "fe80::1", "'http://h'", '"http://h"', "ws://h", "http://h:８０",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(written: str) -> None:
    with pytest.raises(TargetError, match="is no URL such as") as caught:
        parse(written)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "written",
    [
        "http://ann:pa55/word@h", "http://ann:pa55?word@h", "http://ann:pa55#word@h",
        "http://ann:1/word@h/v1", "ftp://ann:pa55word@h", "ann:pa55word@h:99999",
        "http://ann:pa55 word@h", "http://h:x?key=pa55word",
    ],
)  # fmt: skip
def test_a_refusal_does_not_repeat_a_password(written: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse(written)
    assert "pa55" not in str(caught.value)
    assert "word" not in str(caught.value).replace("password", "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("written", "is_loopback"),
    [
        ("127.0.0.1:1", True), ("localhost", True), ("http://[::1]", True),
        ("http://127.9.9.9", True),
        ("images.example.com", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_whether_others_are_on_the_way(written: str, is_loopback: bool) -> None:
    address: Address = parse(written)
    assert address.is_loopback is is_loopback
