"""A GPU day's figures: written whole, read again, held against targets."""

from pathlib import Path

import pytest

from benchmarks.gpu_day_figures import TARGETS, Book, Figure, Target, read, table, value_of

TARGET = Target(part="sdxl", name="rate", bound=2.0, at_least=True, basis="on paper")


def figure(name: str, value: float | str | None, unit: str = "s", note: str = "") -> Figure:
    return Figure(part="sdxl", name=name, value=value, unit=unit, source="clock", note=note)


def test_figures_of_several_parts_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    assert read(path) == []
    one, other = Book(path, "a"), Book(path, "b")
    one.add("step", 0.25, "s", "CUDA events")
    other.lack("step", "s", "needs a GPU")
    one.add("step", 0.5, "s", "CUDA events")
    assert [(each.part, each.value, each.note) for each in read(path)] == [
        ("a", 0.25, ""), ("b", None, "needs a GPU"), ("a", 0.5, ""),
    ]  # fmt: skip
    figures = read(path)
    assert value_of(figures, "a", "step") == 0.5
    assert value_of(figures, "b", "step") is None
    assert value_of(figures, "c", "step") is None


def test_what_a_killed_process_had_begun_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    Book(path, "a").add("step", 1, "s", "clock")
    with path.open("ab") as file:
        file.write(b'{"part":"a","na')
    assert [each.name for each in read(path)] == ["step"]


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.0, True, True), (1.9, True, False), (1.9, False, True), (2.1, False, False),
     (None, True, None), ("text", True, None)],
)  # fmt: skip
def test_targets(value: float | str | None, at_least: bool, met: bool | None) -> None:
    target = Target(part="p", name="n", bound=2.0, at_least=at_least, basis="on paper")
    assert target.met(value) is met


def test_the_table_shows_figures_beside_their_targets() -> None:
    lines = table(
        [figure("step", 0.25), figure("rate", 1.5, "images/s"), figure("fp8", None, note="no GPU"),
         figure("memory", 25_276_514_304, "bytes"), figure("driver", "580.1", "text")],
        [TARGET, Target(part="http", name="p99", bound=20.0, at_least=False, basis="MLPerf")],
    ).splitlines()  # fmt: skip
    assert lines[0] == "sdxl"
    assert lines[1].split() == ["step", "0.25", "s", "[clock]"]
    assert "1.5 images/s  MISSED: target >= 2 (on paper)  [clock]" in lines[2]
    assert lines[3].split() == ["fp8", "—", "no", "GPU"]
    assert "2.528e+10 bytes" in lines[4]
    assert "580.1  [clock]" in lines[5]
    assert lines[6] == "not measured: http, p99: target <= 20 (MLPerf)"


def test_every_target_says_where_it_comes_from() -> None:
    assert {target.part for target in TARGETS} == {"sdxl", "sd15", "http"}
    assert all(target.basis for target in TARGETS)
