"""What the server that a run starts is told of its device, and what the user is."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.driver.prepare import Options, cpu_notice, server_settings
from loadtest.errors import ConfigurationError
from loadtest.scenario.scenario import parse_scenario, scenario_text
from profiles.schema import GpuInfo

GPU = GpuInfo(node="n", index=0, uuid="GPU-1", name="H200")


def options(**changes: Any) -> Options:
    text, folder = scenario_text("smoke")
    parsed = parse_scenario(text)
    return Options(
        scenario_text=text, scenario=parsed, folder=folder, command=[], out=Path("runs"),
        gpu_price_usd_per_h=1.0, gpu_price_basis="given", **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "gpus", "model", "device", "told"),
    [
        ({}, [], "tiny", "cpu", "no GPU that can be used was found: serving the tiny model"),
        ({}, [GPU], "sd15", "cuda", ""),
        ({"model": "sdxl"}, [GPU], "sdxl", None, ""),  # the server decides, and stops without one
        ({"model": "sdxl"}, [], "sdxl", None, "warning: no GPU that can be used was found: sdxl"),
        ({"model": "sdxl", "settings": {"device": "cpu"}}, [], "sdxl", "cpu", ""),
        ({"model": "sdxl", "settings": {"device": "cuda"}}, [], "sdxl", "cuda", ""),
        ({"model": "tiny-flux"}, [], "tiny-flux", None, ""),
        ({"model": "stub"}, [], "stub", None, ""),
        ({"settings": {"device": "cuda"}}, [], "tiny", "cuda", ""),
    ],
)
def test_the_cpu_is_never_taken_in_silence(
    changes: dict[str, Any], gpus: list[GpuInfo], model: str, device: str | None, told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = server_settings(options(**changes), gpus)
    assert settings is not None
    assert (settings["model"], settings.get("device")) == (model, device)
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == bool(told)


def test_gpus_that_are_there_need_no_notice() -> None:
    assert cpu_notice({"model": "sdxl"}, is_default=False, has_gpus=True) is None


@pytest.mark.parametrize(
    ("scenario", "told", "host"),
    [
        (None, {}, None),
        ("127.0.0.1", {}, "127.0.0.1"),
        ("::1", {}, "::1"),
        ("0.0.0.0", {"host": "127.0.0.1"}, "127.0.0.1"),
        ("10.0.0.5", {"host": "0.0.0.0"}, "0.0.0.0"),
        ("0.0.0.0", {}, "refused"),
        ("::", {}, "refused"),
        ("gpu-node", {}, "refused"),
        ("", {}, "refused"),
        (0, {}, "refused"),  # which is 0.0.0.0 to a resolver
        ("\x1b[2J", {}, "refused"),
    ],
)
def test_a_scenario_cannot_open_this_machine_to_its_network(
    scenario: Any, told: dict[str, Any], host: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """F13."""
    asked = options(model="stub", settings=told)
    own = {} if scenario is None else {"host": scenario}
    asked = msgspec.structs.replace(
        asked, scenario=msgspec.structs.replace(asked.scenario, server=own)
    )
    if host == "refused":
        with pytest.raises(ConfigurationError, match=r"\[server\] host: .*--set host=") as caught:
            server_settings(asked, [])
        assert str(caught.value).isprintable()
        return
    settings = server_settings(asked, [])
    assert settings is not None
    assert settings.get("host") == host
    warned = "where other machines reach it" in capsys.readouterr().err
    assert warned == (host == "0.0.0.0")
