from typing import Any

import pytest

from serve.settings import Settings, SettingsError, from_json, from_strings


def test_defaults_serve_the_tiny_model_on_loopback() -> None:
    settings = Settings()
    assert (settings.model, settings.host, settings.port) == ("tiny", "127.0.0.1", 8000)
    assert settings.loopback_only
    assert settings.batch_limit == settings.max_batch


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, Settings()),
        ({"model": "stub", "port": "9000"}, Settings(model="stub", port=9000)),
        ({"max_wait_s": "0.5", "replicas": "2"}, Settings(max_wait_s=0.5, replicas=2)),
        ({"replicas": "null"}, Settings(replicas=None)),
    ],
)
def test_words_become_settings(words: dict[str, str], expected: Settings) -> None:
    assert from_strings(words) == expected


def test_json_becomes_settings() -> None:
    assert from_json('{"model": "sdxl", "max_batch": 4}') == Settings(model="sdxl", max_batch=4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"prot": 1}', "unknown field 'prot'; did you mean 'port'?"),
        ('{"qqqq": 1}', "unknown field 'qqqq'; valid: model, weights"),
        ('{"model": "sd51"}', "did you mean 'sd15'?"),
        ('{"policy": "step"}', "valid: none, request"),
        ('{"port": 0}', "port: Expected `int` >= 1 (got 0)"),
        ('{"port": "80"}', "port: Expected `int`, got `str` (got '80')"),
        ('{"max_wait_s": -1}', "max_wait_s: Expected `float` >= 0.0"),
        ('{"max_queue": 0}', "max_queue"),
        ('{"weights": ""}', "weights"),
        ('{"default_steps": 200}', "default_steps 200 is above max_steps 150"),
        ('{"model": "stub", "device": "cuda"}', "the stub uses no GPU"),
        (
            '{"model": "sd35-medium", "max_side": 8192}',
            "max_side 8192 is above what sd35-medium can make: at most 6144",  # 384 x 16
        ),
        ("[1]", "must be a JSON object"),
        ('{"model', "no valid JSON"),
        ("", "no valid JSON"),
    ],
)
def test_errors_name_the_field_and_the_remedy(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_json(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"policy": "none", "max_batch": 8}, 1),
        ({"policy": "request", "max_batch": 8}, 8),
    ],
)
def test_policy_none_never_batches(fields: dict[str, Any], limit: int) -> None:
    assert Settings(**fields).batch_limit == limit


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
)
def test_loopback_hosts(host: str, loopback: bool) -> None:
    assert Settings(host=host).loopback_only is loopback


def test_threads_leave_a_core_but_take_one() -> None:
    assert Settings(threads=3).cpu_threads == 3
    assert Settings().cpu_threads >= 1
