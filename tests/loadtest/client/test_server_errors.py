"""What servers say went wrong, in whatever form."""

import pytest

from loadtest.client.server_errors import MAX_CHARS, error_in, error_message, where_to

FASTAPI = (
    b'{"detail": [{"loc": ["body", "size"], "msg": "field required", "type": "missing"},'
    b' {"loc": ["body", "n"], "msg": "too many"}]}'
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "queue\\nis full", "type": "x"}}', "queue is full"),
        (b'{"error": "plain"}', "plain"),
        (b'{"error": {}}', None),
        (b'{"error": {"code": "rate_limited"}}', "rate_limited"),  # no words, but a name
        (b'{"detail": "size needs cloud storage"}', "size needs cloud storage"),
        (FASTAPI, "body.size: field required; body.n: too many"),
        (b'{"detail": {"message": "gone"}}', "gone"),
        (b'{"message": "no route", "status": 404}', "no route"),
        (b'{"title": "Bad Request", "detail": "n is 0"}', "n is 0"),  # RFC 9457
        (b'{"errors": [{"message": "a"}, {"message": "b"}, "c", "d"]}', "a; b; c, and 1 more"),
        (b'{"error": {"message": null, "detail": "deeper"}}', "deeper"),
        (b'{"error": "", "message": "second"}', "second"),
        (b'"just a string"', "just a string"),
        (b"busy", "busy"),
        (b"upstream connect error\r\nor reset", "upstream connect error or reset"),
        (
            b"<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title>",
            "a web page, '502 Bad Gateway'",
        ),
        (b"<html><body>", "a web page"),
        (b"[]", None),
        (b"", None),
        (b"\x89PNG\r\n\x1a\n\0\0", None),  # no words
        (b'{"error": {"message": "cut', '{"error": {"message": "cut'),
        (b"[" * 200_000 + b"]" * 200_000, None),
        (b'{"error":' * 9 + b'"deep"' + b"}" * 9, '{"error":' * 9 + '"deep"' + "}" * 9),
        # other makers' names of the field
        (b'{"Message": "no such bucket"}', "no such bucket"),
        (b'{"errorMessage": "timed out"}', "timed out"),
        (b'{"error_msg": "quota", "error_code": 18}', "quota"),
        (b'{"error": "invalid_token", "error_description": "expired"}', "expired"),
        (b'{"fault": {"faultstring": "spike arrest"}}', "spike arrest"),
        (b'{"base_resp": {"status_code": 1004, "status_msg": "no balance"}}', "no balance"),
        (b'{"output": {"task_status": "FAILED", "message": "unsafe"}}', "unsafe"),
        (b'{"error": {"message": {"text": "inner"}}}', "inner"),
        (b'{"error": true, "info": "out of memory"}', "out of memory"),
        # words whose place nobody knows: as they came
        (b'{"errors": {"size": ["is bad"]}}', '{"errors":{"size":["is bad"]}}'),
        (b'{"code": "InvalidParam"}', '{"code":"InvalidParam"}'),
        (b'{"error": {}, "data": null}', None),
        # other forms
        (b"<?xml version='1.0'?><Error><Code>X</Code><Message>Denied</Message></Error>", "Denied"),
        (b"<html><body><h1>Not Found</h1></body>", "a web page, 'Not Found'"),
        (b'event: error\ndata: {"message": "in a stream"}\n\n', "in a stream"),
        (b'\xef\xbb\xbf{"error": "behind a mark"}', "behind a mark"),
        ("zu groß".encode("latin-1"), "zu groß"),
        (b'{"error": {"message": "\\u001b[31mred\\u202e"}}', r"\x1b[31mred\u202e"),
        (b'{"error": "' + b"x" * 999 + b'"}', "x" * (MAX_CHARS - 1) + "…"),
        (b'{"error": "' + b"x" * (1 << 20) + b'"}', None),
    ],
)
def test_the_words_of_an_error(body: bytes, words: str | None) -> None:
    assert error_message(body) == words
    assert error_message(bytearray(body)) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"created": 1, "data": [], "error": {"message": "out of memory"}}', "out of memory"),
        (b'{"data": [{"b64_json": null, "error": {"message": "unsafe"}}]}', "unsafe"),
        (b'{"code": 1, "message": "no credit"}', "no credit"),
        (b'{"data": [], "error": null}', None),
        (b'{"data": [{"revised_prompt": "a fox"}]}', None),
        (b'{"data": [], "Error_Message": "no GPU"}', "no GPU"),
        (b'{"images": ["aGk="], "parameters": {}}', "it has images, parameters"),  # A1111's form
        (b'["error"]', None),
        (b"<html><title>app</title>", "a web page, 'app'"),
        (b"[" * 200_000, None),
    ],
)
def test_the_words_of_an_error_in_an_answer_that_says_it_is_well(
    body: bytes, words: str | None
) -> None:
    assert error_in(body) == words


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/v1/images/generations/", "redirects to http://h:1/v1/images/generations/"),
        ("generations2", "redirects to http://h:1/v1/images/generations2"),
        ("//other/x", "redirects to http://other/x"),
        ("https://u:secret@h/x?token=secret#secret", "redirects to https://h/x"),
        ("/\x1b[31m", r"redirects to http://h:1/\x1b[31m"),
        ("http://[", "a redirect to no URL"),
        ("", "a redirect that says not where to"),
        (None, "a redirect that says not where to"),
    ],
)
def test_where_a_redirect_goes(location: str | None, words: str) -> None:
    assert where_to(location, "http://h:1/v1/images/generations") == words
