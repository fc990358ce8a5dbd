from typing import Any

from benchmarks.draw import draw, rows

FIGURES = {"goodput_images_per_s": 2.0, "latency_p95_s": 0.5, "limit_percent": None}
RESULT = {"none": {"burst": FIGURES, "1.0": FIGURES}, "step": {"1.0": FIGURES, "3.0": FIGURES}}


def test_a_row_a_policy_load_and_known_figure() -> None:
    drawn = rows(RESULT)
    assert len(drawn) == 6  # three Poisson cells, two known figures each
    assert {(row["policy"], row["load"]) for row in drawn} == {
        ("none", 1.0),
        ("step", 1.0),
        ("step", 3.0),
    }


def test_the_picture_names_policies_and_where_it_ran() -> None:
    told: dict[str, Any] = {
        "result": RESULT,
        "model": "tiny",
        "size": "64x64",
        "steps": 20,
        "slo_s": 0.8,
        "facts": {"device": "cpu"},
    }
    svg = draw(told)
    for words in ("step", "none", "goodput, images/s", "tiny, 64x64, 20 steps, cpu"):
        assert words in svg
