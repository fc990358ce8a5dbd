"""The engine benchmark drawn: goodput and tail latency of each policy, by load.

python -m benchmarks.draw engine.json policies.svg
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

PANELS = {
    "goodput_images_per_s": "goodput, images/s",
    "latency_p95_s": "latency p95, s",
    "limit_percent": "% of the measured matmul limit",
}
COLOURS = {"none": "#9aa0a6", "request": "#e8963e", "step": "#1f6feb"}


def rows(result: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One row a policy, Poisson load and panel; what is not known is left out."""
    return [
        {"policy": policy, "load": float(load), "panel": panel, "value": figures[name]}
        for policy, loads in result.items()
        for load, figures in loads.items()
        if load != "burst" and not load.endswith("/s")
        for name, panel in PANELS.items()
        if figures[name] is not None
    ]


def draw(told: Mapping[str, Any]) -> str:
    """An SVG of three panels, each with a line a policy."""
    base = alt.Chart(alt.Data(values=rows(told["result"]))).mark_line(point=True)
    panels = [
        base.transform_filter(alt.datum.panel == panel)
        .encode(
            x=alt.X("load:Q", title="offered load, times the capacity of policy none"),
            y=alt.Y("value:Q", title=panel, scale=_scale(name)),
            color=alt.Color(
                "policy:N",
                scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
                legend=alt.Legend(orient="bottom"),
            ),
        )
        .properties(width=260, height=220)
        for name, panel in PANELS.items()
    ]
    where = f"{told['model']}, {told['size']}, {told['steps']} steps, {told['facts']['device']}"
    title = f"Three policies, the same arrivals: {where}; SLO {told['slo_s']:.2g} s"
    chart = alt.hconcat(*panels).properties(title=title)
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


def main() -> int:
    """Draw a result; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description=__doc__)
    parser.add_argument("result", type=Path, help="what benchmarks.engine --out wrote")
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    told = json.loads(arguments.result.read_text(encoding="utf-8"))
    arguments.svg.write_text(draw(told), encoding="utf-8")
    return 0


def _scale(name: str) -> alt.Scale:
    """Latencies spread over decades."""
    return alt.Scale(type="log" if name.startswith("latency") else "linear", nice=True)


if __name__ == "__main__":
    sys.exit(main())
