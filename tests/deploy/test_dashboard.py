"""The dashboard against Grafana's own models, its queries against what is exported."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from profiles.sampler import metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/viralload.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
HISTOGRAM = ("_bucket", "_sum", "_count")


def lost(before: Any, after: Any, path: str = "$") -> list[str]:
    """Where `after` lacks what `before` has, or has another value."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            fault
            for key, value in before.items()
            for fault in (
                lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"]
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [fault for at, (a, b) in pairs for fault in lost(a, b, f"{path}[{at}]")]
    return [] if before == after else [f"{path}: {before!r} is not {after!r}"]


def test_grafanas_models_read_all_of_it() -> None:
    dashboard = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = dashboard.Dashboard.from_json(DASHBOARD)
    assert [
        type(panel.targets[0]).__module__.rpartition(".")[2]
        for panel in read.panels
        if hasattr(panel, "targets")
    ] == ["prometheus"] * len(PANELS)
    written = json.loads(JSONEncoder(sort_keys=True).encode(read))
    assert lost(DASHBOARD, written) == []  # a key that Grafana does not know is dropped


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def named(query: str) -> set[str]:
    return set(re.findall(r"\b(?:viralload|ray)_[a-z_]+\b", query))


def test_every_metric_of_ours_that_is_drawn_is_told() -> None:
    drawn = {name for query in QUERIES for name in named(query) if name.startswith("viralload_")}
    assert drawn - metrics.names() == set()
    assert len(drawn) > 15


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's own
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_metric_of_the_server_that_is_drawn_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from serve.replica import metrics as meters

    declared: set[str] = set()

    def declare(name: str, *_: object, **__: object) -> None:
        declared.add(f"ray_{name}")

    def histogram(name: str, *_: object, **__: object) -> None:
        declared.update(f"ray_{name}{suffix}" for suffix in HISTOGRAM)

    monkeypatch.setattr(meters, "Counter", declare)
    monkeypatch.setattr(meters, "Gauge", declare)
    monkeypatch.setattr(meters, "Histogram", histogram)
    meters.Metrics()
    drawn = {name for query in QUERIES for name in named(query) if name.startswith("ray_image_")}
    assert drawn - declared == set()
    stages = {"queue", "text", "denoise", "decode", "encode"}
    assert {f"ray_image_{stage}_seconds_bucket" for stage in stages} <= drawn


def test_every_metric_of_ray_serve_that_is_drawn_is_in_ray() -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    sources = (Path(spec.origin).parent / "serve").rglob("*.py")
    text = "\n".join(source.read_text() for source in sources)
    drawn = {name for query in QUERIES for name in named(query) if name.startswith("ray_serve_")}
    assert drawn
    for name in drawn:
        assert f'"{name.removeprefix("ray_")}"' in text, name


def test_variables_are_defined() -> None:
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(DASHBOARD)))
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_prometheus_scrapes_both_on_loopback() -> None:
    config = (ROOT / "deploy/prometheus.yml").read_text()
    targets = re.findall(r"targets: \[(.*)\]", config)
    assert targets == ['"127.0.0.1:9400"', '"127.0.0.1:9401"']
    readme = (ROOT / "deploy/README.md").read_text()
    assert "--metrics-port 9400 --set metrics_port=9401" in readme


def test_prometheus_reads_the_configuration_and_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    rules = [
        {"record": f"panel:query{at}", "expr": query.replace("$__rate_interval", "1m")}
        for at, query in enumerate(QUERIES)
    ]
    path = tmp_path / "rules.yml"
    # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    for words in (["config", str(ROOT / "deploy/prometheus.yml")], ["rules", str(path)]):
        done = subprocess.run(
            [promtool, "check", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
