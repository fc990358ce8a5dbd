"""The limits of a device: the arithmetic on a clock of ours, and a measurement of this machine."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from serve.devices import limits
from serve.devices.limits import DeviceLimits, LimitsError, measure, rate, sustained_s


class Device:
    """Takes `step_s` a step on a clock of its own; the first step takes a second more."""

    def __init__(self, step_s: Callable[[int], float]) -> None:
        self.now_s = 0.0
        self.rounds: list[int] = []
        self._step_s = step_s

    def clock(self) -> float:
        return self.now_s

    def timed(self, steps: int) -> float:
        took_s = steps * self._step_s(len(self.rounds)) + (0.0 if self.rounds else 1.0)
        self.rounds.append(steps)
        self.now_s += took_s
        return took_s


@pytest.mark.parametrize(
    ("step_s", "budget_s", "steps", "rounds"),
    [
        (0.001, 5.0, 20, 200),  # 20 steps fill a round of 20 ms; 4 s of 5 are left to count
        (0.5, 5.0, 1, 7),  # longer than a round: one step each; 1.5 + 0.5 are gone by then
        (0.5, 0.1, 1, 3),  # the budget is spent at once: the least that makes a median
    ],
)
def test_rounds_fill_the_budget_and_the_first_step_does_not_count(
    step_s: float, budget_s: float, steps: int, rounds: int
) -> None:
    device = Device(lambda _: step_s)
    found = sustained_s(device.timed, budget_s=budget_s, round_s=0.02, clock=device.clock)
    assert found == pytest.approx(step_s)
    assert device.rounds[:2] == [1, 1]
    assert set(device.rounds[2:]) == {steps}
    assert len(device.rounds) - 2 == pytest.approx(rounds, abs=1)


def test_a_lucky_round_does_not_set_the_figure() -> None:
    device = Device(lambda at: 0.01 if at % 3 else 0.001)
    assert sustained_s(
        device.timed, budget_s=3.0, round_s=0.001, clock=device.clock
    ) == pytest.approx(0.01)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_clock_that_stands_still_is_no_rate(seconds: float) -> None:
    with pytest.raises(LimitsError, match="does not advance"):
        rate(1e9, seconds)
    assert rate(10.0, 4.0) == 2.5


def test_float8_matrices_are_laid_out_as_the_kernel_wants_them() -> None:
    # the CPU has the same operator: 32 x 64 by 64 x 48, e4m3 keeps 3 bits of each factor
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(32, 64, generator=random), torch.randn(64, 48, generator=random)
    out = limits._fp8_matmul(a, b)()
    assert isinstance(out, torch.Tensor)
    assert out.dtype is torch.bfloat16
    assert (out.float() - a @ b).abs().mean() < 0.05 * (a @ b).abs().max()


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CPU_SHAPES", ((256, 256, 256),))
    monkeypatch.setattr(limits, "CPU_COPY_BYTES", 2**26)
    seed = torch.initial_seed()
    state = torch.get_rng_state()
    found = measure(torch.device("cpu"), torch.float32, budget_s=0.2)
    assert found.device_name
    assert (found.matmul_dtype, found.fp8_flop_per_s) == ("float32", None)
    assert 1e8 < found.matmul_flop_per_s < 1e14  # 0.1 GFLOP/s .. 100 TFLOP/s
    assert 1e8 < found.copy_bytes_per_s < 1e13
    assert found.threads == torch.get_num_threads()
    assert 0.05 < found.measured_s < 60
    assert msgspec.json.decode(msgspec.json.encode(found), type=DeviceLimits) == found
    assert torch.initial_seed() == seed
    assert torch.equal(torch.get_rng_state(), state)  # nobody's random numbers are drawn


def test_cuda_events_tell_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            happened.append("record")

        def synchronize(self) -> None:
            happened.append("synchronize")

        def elapsed_time(self, _end: "Event") -> float:
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert limits._by_events(lambda: happened.append("step"), 2) == 0.25
    assert happened == ["record", "step", "step", "record", "synchronize"]


def test_what_torch_cannot_do_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> DeviceLimits:
        raise RuntimeError("CUDA error: out of memory\nsecond line")

    monkeypatch.setattr(limits, "_measure", fail)
    with pytest.raises(LimitsError, match=r"^cpu cannot be measured: CUDA error: out of memory$"):
        measure(torch.device("cpu"), torch.float32, budget_s=0.1)


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_room_bytes", lambda device: 1000.0)
    with pytest.raises(LimitsError, match="too little memory"):
        measure(torch.device("cpu"), torch.float32, budget_s=0.1)


@pytest.mark.parametrize(
    ("text", "name"),
    [("processor\t: 0\nmodel name\t: AMD EPYC 9654\n", "AMD EPYC 9654"), ("model name :\n", None)],
)
def test_cpu_name(text: str, name: str | None, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert limits.cpu_name(cpuinfo) == (name or limits.cpu_name(tmp_path / "none"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_is_measured_and_its_memory_given_back() -> None:
    from profiles.telemetry.datasheet import datasheet  # a test may know both sides

    device = torch.device("cuda", 0)
    found = measure(device, torch.bfloat16, budget_s=2.0)
    held = torch.cuda.memory_reserved(device)
    again = measure(device, torch.bfloat16, budget_s=1.0)
    assert torch.cuda.memory_reserved(device) <= held < 2**28  # the matmul library's workspace
    assert again.matmul_flop_per_s == pytest.approx(found.matmul_flop_per_s, rel=0.2)
    assert (found.matmul_dtype, found.threads) == ("bfloat16", None)
    assert 1.0 < found.measured_s < 20.0
    has_fp8 = torch.cuda.get_device_capability(device) >= (9, 0)
    assert (found.fp8_flop_per_s is not None) is has_fp8
    sheet = datasheet(found.device_name)
    if sheet is None:
        pytest.skip(f"no datasheet of {found.device_name}")
    assert 0.2 < found.matmul_flop_per_s / sheet.bf16_flop_per_s < 1.1
    assert 0.2 < found.copy_bytes_per_s / sheet.memory_bytes_per_s < 1.1
    if sheet.fp8_flop_per_s is not None and found.fp8_flop_per_s is not None:
        assert 0.2 < found.fp8_flop_per_s / sheet.fp8_flop_per_s < 1.1
