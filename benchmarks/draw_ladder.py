"""The ladder drawn: milliseconds of a step by kind of kernel, a bar a rung, on paper.

python -m benchmarks.draw_ladder profiles/reference/census-ladder-h200-paper.json docs/ladder.svg
"""

# mypy: disallow-untyped-calls=False
# Parts of altair are untyped.

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

COLOURS = {
    "matmul": "#1f6feb",
    "conv": "#2da44e",
    "attention": "#8250df",
    "norm, gate, sum": "#e8963e",
    "copy": "#9aa0a6",
}
PARTS = {
    "pointwise": "norm, gate, sum",
    "norm": "norm, gate, sum",
    "fused": "norm, gate, sum",
    "layout": "copy",
}


def rows(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a rung and kind of kernel, kinds in the colours' order."""
    told = []
    for rung in case["rungs"]:
        kinds = dict.fromkeys(COLOURS, 0.0)
        for kind, ms in rung["step_ms_by_kind_on_paper"].items():
            kinds[PARTS.get(kind, kind)] += ms
        rate = rung["images_per_s_on_paper"]["none"]
        told += [
            {"rung": f"{rung['name']}: {rate:.2f}", "kind": kind, "ms": ms, "order": order}
            for order, (kind, ms) in enumerate(kinds.items())
        ]
    return told


def draw(told: Mapping[str, Any]) -> str:
    """An SVG of a panel a model."""
    panels = []
    for case in told["cases"]:
        values = rows(case)
        panels.append(
            alt.Chart(
                alt.Data(values=values),
                title=f"{case['model']}, {case['px']} px, {case['rows']} rows",
            )
            .mark_bar()
            .encode(
                x=alt.X("ms:Q", stack=True, title="ms a step, on paper"),
                y=alt.Y(
                    "rung:N",
                    sort=list(dict.fromkeys(row["rung"] for row in values)),
                    title=None,
                    axis=alt.Axis(labelLimit=320),
                ),
                color=alt.Color(
                    "kind:N",
                    title=None,
                    scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
                    legend=alt.Legend(orient="bottom"),
                ),
                order="order:Q",
            )
            .properties(width=420, height=220)
        )
    gpu = told["gpu"]["name"]
    title = f"On paper, never measured: {gpu}; behind each name images/s without approximations"
    chart = alt.vconcat(*panels).properties(title=alt.Title(title, fontSize=12))
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


def main() -> int:
    """Draw a ladder; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw_ladder", description=__doc__)
    parser.add_argument("ladder", type=Path, help="what benchmarks.ladder printed")
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    told = json.loads(arguments.ladder.read_text(encoding="utf-8"))
    arguments.svg.write_text(draw(told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
