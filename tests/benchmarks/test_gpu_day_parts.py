"""What the parts of a GPU day make of what they read; the measuring itself is rehearsed (slow)."""

from pathlib import Path

import pytest

from benchmarks.gpu_day_environment import device_files, is_gpu_file
from benchmarks.gpu_day_http import joules_per_image, load_of
from benchmarks.gpu_day_http import tell as tell_run
from benchmarks.gpu_day_models import REHEARSED, WORDS, settings_of, unknown, words_of
from benchmarks.gpu_day_part import Session
from benchmarks.gpu_day_sampler import tell as tell_sampler
from benchmarks.gpu_day_tests import files
from benchmarks.gpu_day_tests import tell as tell_tests
from benchmarks.sampler_gpu import apart
from profiles.schema import GpuSummary, Summary, Verdict

ROOT = Path(__file__).resolve().parents[2]
JUNIT = """<testsuites><testsuite>
<testcase name="good"/><testcase name="bad"><failure>no</failure></testcase>
<testcase name="broken"><error>no</error></testcase><testcase name="absent"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def part(tmp_path: Path) -> Session:
    return Session("p", tmp_path, "cpu", rehearse=True)


def told(part: Session) -> dict[str, tuple[object, str]]:
    return {each.name: (each.value, each.note) for each in part.earlier()}


def summary(*gpus: GpuSummary, **changes: object) -> Summary:
    values: dict[str, object] = {
        "run_id": "r", "scenario": "s", "valid": True, "reasons": [], "verdict": Verdict.PASS,
        "scheduled": 9, "outcomes": {"ok": 9, "failed": 0}, "scheduled_images": 9, "ok_images": 9,
        "slo_latency_s": 20.0, "gpus": list(gpus),
    }  # fmt: skip
    return Summary(**(values | changes))  # type: ignore[arg-type]


def test_the_load_stands_on_what_the_model_makes_or_on_paper() -> None:
    assert load_of(2.0) == (1.8, "0.9 of part sdxl's images/s, predicted")
    load, basis = load_of(None)
    assert load == pytest.approx(1.08)
    assert "on paper" in basis


def test_energy_an_image_by_both_meters() -> None:
    # 900 J by the chosen meter at 100 J an image are 9 images; 990 J by power are 110 each
    gpu = GpuSummary(node="n", index=0, uuid="GPU-a", samples=9, energy_j=900.0,
                     energy_counter_j=900.0, energy_integrated_j=990.0)  # fmt: skip
    by = joules_per_image(summary(gpu, energy_j_per_image=100.0))
    assert by == {"energy an image, by counter": 100.0, "energy an image, by power": 110.0}
    assert set(joules_per_image(summary()).values()) == {None}
    blind = GpuSummary(node="n", index=0, uuid="GPU-a", samples=9)
    assert set(joules_per_image(summary(blind)).values()) == {None}


def test_a_run_without_a_gpu_says_what_it_needs(part: Session) -> None:
    tell_run(part, summary(latency_p99_s=3.5))
    figures = told(part)
    assert figures["latency p99"] == (3.5, "")
    assert figures["requests"] == (9, '{"ok": 9}')
    assert figures["latency p50"] == (None, "the run told none")
    assert figures["energy an image, by counter"] == (None, "needs a GPU")


def test_a_gpu_that_cannot_tell_says_why(part: Session) -> None:
    gpu = GpuSummary(node="n", index=0, uuid="GPU-a", samples=9, power_mean_w=600.0,
                     unable={"tensor_mean_pct": "no profiling rights"})  # fmt: skip
    tell_run(part, summary(gpu))
    figures = told(part)
    assert figures["power"] == (600.0, "")
    assert figures["tensor cores active"] == (None, "no profiling rights")


def test_a_sampler_over_a_script_tells_no_energy(part: Session) -> None:
    found = {"throughput": apart([(99.0, 100.0)]), "load": {"load": "matmul", "unit": "TFLOP"},
             "work_per_s": 700.0}  # fmt: skip
    tell_sampler(part, found)
    figures = told(part)
    assert figures["load lost to sampling"] == (pytest.approx(1.0), "one pair: no interval")
    assert figures["energy by counter"] == (None, "needs a GPU")


def test_a_report_of_tests_is_counted(part: Session, tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(JUNIT)
    assert tell_tests(part, tmp_path / "tests.xml") == ["bad", "broken"]
    figures = told(part)
    assert figures["tests failed"] == (2, "bad, broken")
    assert (figures["tests skipped"][0], figures["tests passed"][0]) == (1, 1)


def test_gpu_tests_are_found_by_their_mark() -> None:
    assert {"tests/serve/test_on_gpu.py", "tests/serve/devices/test_limits.py"} <= set(files(ROOT))
    assert "tests/loadtest/cli/test_main.py" not in files(ROOT)


def test_device_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia-uvm", "nvidiactl", "null"):
        (tmp_path / name).touch()
    names = device_files(tmp_path)
    assert names == ["nvidia-uvm", "nvidia0", "nvidiactl"]
    assert [name for name in names if is_gpu_file(name)] == ["nvidia0"]


@pytest.mark.parametrize("model", ["sdxl", "sd15"])
def test_a_days_settings_are_settings(model: str) -> None:
    assert set(WORDS) == set(REHEARSED)
    assert unknown({**WORDS[model], "nosuch": "1"}) == ["nosuch"]
    real = settings_of(words_of(model, rehearse=False) | {"nosuch": "1"}, "cuda")
    assert (real.model, real.device, real.steps) == (model, "cuda", 20)
    assert settings_of(words_of(model, rehearse=True), "cpu").model.startswith("tiny")
