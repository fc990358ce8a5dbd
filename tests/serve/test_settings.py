from typing import Any

import pytest

from serve.catalog import ModelName
from serve.settings import Settings, SettingsError, from_json, from_strings, parse_size


def test_defaults_serve_the_tiny_model_on_loopback() -> None:
    settings = Settings()
    assert (settings.model, settings.host, settings.port) == ("tiny", "127.0.0.1", 8000)
    assert settings.policy == "step"
    assert settings.deadline_s == 60.0
    assert settings.batch_limit == settings.max_batch
    assert settings.warm_sizes == [(64, 64)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, Settings()),
        ({"model": "stub", "port": "9000"}, Settings(model="stub", port=9000)),
        ({"max_wait_s": "0.5", "replicas": "2"}, Settings(max_wait_s=0.5, replicas=2)),
        ({"replicas": "null"}, Settings(replicas=None)),
        ({"deadline_s": "2.5"}, Settings(deadline_s=2.5)),
        ({"deadline_s": "null"}, Settings(deadline_s=None)),
        (
            {"graphs": "false", "compile": "true", "fp8": "1"},
            Settings(graphs=False, compile=True, fp8=True),
        ),
        ({"sizes": "64x64,96x64", "cache": "/c"}, Settings(sizes="64x64,96x64", cache="/c")),
        (
            {"buckets": "2, 16", "cache_steps": "2", "guidance_until": "0.67"},
            Settings(buckets="2, 16", cache_steps=2, guidance_until=0.67),
        ),
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
        ('{"policy": "best"}', "valid: none, request, step"),
        ('{"deadline_s": 0}', "deadline_s: Expected `float` > 0.0"),
        ('{"deadline_s": 1e9}', "deadline_s: Expected `float` <= 86400.0"),
        ('{"graphs": 1}', "graphs: Expected `bool`, got `int` (got 1)"),
        ('{"sizes": ""}', "sizes"),
        ('{"sizes": "64"}', "sizes: '64' is no size; write WIDTHxHEIGHT"),
        ('{"sizes": "64x64,"}', "sizes: '' is no size; write WIDTHxHEIGHT"),
        ('{"sizes": "64x64,65x64"}', "sizes: 65x64 cannot be made; both sides must be multiples"),
        (
            '{"model": "sd35-medium", "sizes": "1032x1024"}',  # 129 x 8: no multiple of 16
            "sizes: 1032x1024 cannot be made; both sides must be multiples of 16 from 64 to 2048",
        ),
        ('{"buckets": "2"}', "buckets: '2' must be rising numbers of rows that end with 16"),
        ('{"buckets": "16,2,16"}', "buckets: '16,2,16' must be rising"),
        ('{"buckets": "0,16"}', "buckets: '0,16' must be rising"),
        ('{"buckets": "2;16"}', "such as 2,16"),
        ('{"buckets": "2,16", "max_batch": 4}', "end with 8, twice max_batch"),
        ('{"cache_steps": 0}', "cache_steps: Expected `int` >= 1"),
        ('{"guidance_until": 0}', "guidance_until: Expected `float` > 0.0"),
        ('{"cache_steps": 2, "policy": "request"}', "cache_steps: policy=request runs the stock"),
        ('{"guidance_until": 0.5, "policy": "none"}', "guidance_until: policy=none runs"),
        ('{"guidance_until": 0.5, "model": "stub"}', "guidance_until: the stub denoises nothing"),
        ('{"cache_steps": 2, "model": "sd35-medium"}', "cache_steps: sd35-medium has no UNet"),
        ('{"cache_layers": 1}', "cache_layers: it says nothing without cache_steps"),
        (
            '{"cache_layers": 4, "cache_steps": 2, "model": "sdxl"}',
            "cache_layers: the last block of sdxl has 3; use 1 to 3",
        ),
        ('{"stub_servers": 2}', "stub_servers: only the stub has them"),
        ('{"model": "stub", "stub_service": "exponential"}', "set those, too"),
        ('{"max_steps": 1001}', "max_steps: Expected `int` <= 1000"),
        (
            '{"model": "sdxl", "max_side": 512}',
            "max_side 512 is below the 1024 pixels of an image of sdxl",
        ),
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
        ({"policy": "step", "max_batch": 8}, 8),
    ],
)
def test_policy_none_never_batches(fields: dict[str, Any], limit: int) -> None:
    assert Settings(**fields).batch_limit == limit


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"model": "sdxl"}, [(1024, 1024)]),
        ({"sizes": "64x64, 96x128"}, [(64, 64), (96, 128)]),
        ({"sizes": "64x64,64x64"}, [(64, 64)]),
        ({"model": "sd15", "max_side": 2048, "sizes": "2048x512"}, [(2048, 512)]),
    ],
)
def test_sizes_to_be_warm_for(fields: dict[str, Any], sizes: list[tuple[int, int]]) -> None:
    assert Settings(**fields).warm_sizes == sizes


@pytest.mark.parametrize(
    ("text", "size"), [("512x768", (512, 768)), ("64x99999", (64, 99999)), ("8x8", (8, 8))]
)
def test_sizes_are_read(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "64", "64x", "x64", "64x64x64", "064x64", "-64x64", "6.4x64", "1000000x64"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; write WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize(
    ("model", "size", "is_made"),
    [
        ("tiny", (64, 512), True),
        ("tiny", (72, 64), True),
        ("tiny", (68, 64), False),  # no multiple of 8: the VAE cannot
        ("tiny", (64, 520), False),
        ("tiny", (56, 64), False),
        ("tiny-flux", (72, 64), False),  # 9 latents: no patches of 2
    ],
)
def test_what_a_model_can_make(model: Any, size: tuple[int, int], is_made: bool) -> None:
    settings = Settings(model=model)
    if is_made:
        settings.check_size(*size)
    else:
        with pytest.raises(ValueError, match=r"cannot be made; both sides .* such as 64x64"):
            settings.check_size(*size)


def test_threads_leave_a_core_but_take_one() -> None:
    assert Settings(threads=3).cpu_threads == 3
    assert Settings().cpu_threads >= 1


def test_buckets_are_rows_of_the_batch() -> None:
    assert Settings().batch_rows is None
    assert Settings(buckets="2, 16").batch_rows == [2, 16]
    assert Settings(buckets="2", policy="none").batch_rows == [2]  # one image, guided


@pytest.mark.parametrize(("model", "layers"), [("tiny", 1), ("sd15", 1), ("sdxl", 3)])
def test_how_many_layers_run_in_every_step(model: ModelName, layers: int) -> None:
    assert Settings(model=model, cache_steps=2).shallow_layers == layers
    assert Settings(model=model, cache_steps=2, cache_layers=2).shallow_layers == 2
