"""The sampler beside a load: its arithmetic; (slow) a load of no GPU over scripted ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sampler
from benchmarks.sampler_gpu import Asked, LoadError, apart, measure, orders, rate, readings
from profiles.schema import GpuSummary
from profiles.summary.sample import Sampled
from tests.profiles import fake_nvml

ROOT = Path(__file__).parents[2]
UUID = "GPU-00000000-0000-0000-0000-000000000000"
# Two units of work every 20 ms, on no GPU
TICKER = f"""
import json, time
print(json.dumps({{"load": "ticker", "unit": "units", "gpu_uuid": "{UUID}"}}), flush=True)
begin_s, done = time.monotonic(), 0
while True:
    time.sleep(max(0.0, begin_s + 0.01 * done - time.monotonic()))
    done += 2
    print(time.monotonic(), done, flush=True)
"""


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.0, 10.0), 10.0),  # 40 of work in 4 s
        ((1.5, 4.0), 10.0),  # ticks at 2, 3 and 4
        ((1.5, 2.5), None),  # one tick: no time to divide by
        ((7.0, 9.0), None),
    ],
)
def test_a_rate_is_from_tick_to_tick(span: tuple[float, float], expected: float | None) -> None:
    ticks = [(float(t), 100.0 + 10.0 * t) for t in range(1, 6)]
    assert rate(ticks, *span) == expected


def test_stretches_take_turns_in_who_is_first() -> None:
    assert orders(3) == [(True, False), (False, True), (True, False)]


def test_a_short_comparison_takes_less_than_a_minute() -> None:
    """GPU finding 22: the defaults take minutes of a GPU; readings and stretches add up so."""
    assert Asked(load=[], seconds=12, pairs=2, stretch_s=5).about_s == 13 + 2 * 2 * 7 < 60
    assert Asked(load=[]).about_s > 300


def test_what_the_load_lost_and_its_interval() -> None:
    # 1, 2 and 3% lost: mean 2, standard deviation 1, t(0.95, 2) = 4.303
    told = apart([(99.0, 100.0), (196.0, 200.0), (97.0, 100.0)])
    assert told["lost_percent"] == pytest.approx(2.0)
    assert told["lost_low_percent"] == pytest.approx(2.0 - 4.3027 / 3**0.5, rel=1e-3)
    assert told["lost_high_percent"] == pytest.approx(2.0 + 4.3027 / 3**0.5, rel=1e-3)
    assert not told["within_bound"]
    alone = apart([(99.6, 100.0)])
    assert (alone["lost_low_percent"], alone["within_bound"]) == (None, True)


@pytest.mark.parametrize(
    ("uuid", "counter", "integrated"),
    [
        ("GPU-a", 5.0, 5.5),  # 1000 and 1100 J over 20/s for 10 s
        (None, 7.0, None),  # the other's power is unknown, so their sum is
        ("GPU-elsewhere", None, None),
    ],
)
def test_energy_is_of_the_loads_own_gpu(
    uuid: str | None, counter: float | None, integrated: float | None
) -> None:
    gpus = [
        GpuSummary(node="n", index=0, uuid="GPU-a", samples=9, energy_counter_j=1000.0,
                   energy_integrated_j=1100.0),
        GpuSummary(node="n", index=1, uuid="GPU-b", samples=9, energy_counter_j=400.0),
    ]  # fmt: skip
    about = {} if uuid is None else {"gpu_uuid": uuid}
    told = readings(Sampled(run_id="r", duration_s=10.0, gpus=gpus), about, 20.0)
    assert (told["j_per_unit_counter"], told["j_per_unit_integrated"]) == (counter, integrated)
    assert [gpu["uuid"] for gpu in told["gpus"]] == ["GPU-a", "GPU-b"]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_load_beside_scripted_gpus(tmp_path: Path) -> None:
    script = "- gpus 2\n* power_mw 400000\n* gpm 1\n* gpm_tensor 37\n1 xid 0.5 31\n"
    environ = fake_nvml.environment(tmp_path, script)
    load = [sys.executable, "-c", TICKER]
    told = measure(Asked(load=load, seconds=4, pairs=2, stretch_s=1, settle_s=0.2), environ)
    assert told["work_per_s"] == pytest.approx(100.0, rel=0.1)
    assert told["j_per_unit_counter"] == pytest.approx(400.0 / told["work_per_s"], rel=0.02)
    assert told["j_per_unit_integrated"] == pytest.approx(400.0 / told["work_per_s"], rel=0.1)
    assert [gpu["tensor_mean_pct"] for gpu in told["gpus"]] == [37.0, 37.0]
    assert {"fields", "gpm", "util_pct"} <= set(told["samplers"][0]["calls"])
    assert [fault["code"] for fault in told["faults"]] == [31]
    assert len(told["throughput"]["on_per_s"]) == len(told["throughput"]["off_per_s"]) == 2
    assert abs(told["throughput"]["lost_percent"]) < 20.0  # of a ticker on a busy machine
    json.dumps(told)


def test_a_load_that_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    load = [sys.executable, "-c", "import sys; sys.exit('error: no GPU here')"]
    with pytest.raises(LoadError, match="reason stands above"):
        measure(Asked(load=load))
    assert "error: no GPU here" in capfd.readouterr().err


def test_the_json_says_what_was_measured_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measured(one: Asked) -> dict[str, Any]:
        asked.append(one)
        return {"benchmark": "sampler on a GPU", "throughput": apart([(99.9, 100.0)])}

    out = tmp_path / "h200.json"
    words = ["--load", "matmul", "--set", "fp8=true", "--pairs", "1", "--stretch", "7"]
    monkeypatch.setattr(sampler, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["sampler", "--gpu", *words, "--out", str(out)])
    assert sampler.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(out.read_text())
    assert told["throughput"]["within_bound"]
    assert {"date_utc", "command", "versions", "devices", "hz", "stretch_s"} <= set(told)
    (one,) = asked
    assert one.load[-4:] == ["benchmarks.gpu_load", "matmul", "--set", "fp8=true"]
    assert (one.pairs, one.stretch_s, one.seconds) == (1, 7.0, 60.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--load", "nosuch"], "nosuch"), (["--set", "device=tpu"], "device")],
)
def test_a_load_that_is_none_is_a_users_mistake(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sampler", "--gpu", *words])
    assert sampler.main() == 2
    told = capfd.readouterr()
    assert told.out == ""
    first, *_ = told.err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert "Traceback" not in told.err


@pytest.mark.gpu
@pytest.mark.gpu_slow
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no CUDA GPU")
def test_matmuls_on_a_gpu() -> None:
    words = ["--gpu", "--load", "matmul", "--seconds", "12", "--pairs", "2", "--stretch", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sampler", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,  # GPU finding 22
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    (own,) = [gpu for gpu in told["gpus"] if gpu["uuid"] == told["load"]["gpu_uuid"]]
    assert own["power_mean_w"] > 50.0
    assert own["util_mean_pct"] > 50.0
    assert told["j_per_unit_integrated"] > 0.0
    assert told["samplers"][0]["calls"]["fields"] > 0.0
    assert len(told["throughput"]["on_per_s"]) == 2
