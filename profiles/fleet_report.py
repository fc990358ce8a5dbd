"""A simulated hour as one HTML file, in the report's own style; no network, no JavaScript.

Macros and style are those of report.html, cut out of it, so that a run and a simulation look alike
but for the word that tells them apart.
"""

import jinja2
from markupsafe import Markup

from profiles import facts
from profiles.fleet_panels import panels
from profiles.fleet_search import Needed
from profiles.fleet_text import headline, rows
from profiles.fleet_values import Simulated
from profiles.report import TEMPLATE

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>SIMULATED · {{ played.scenario }} · viralload</title>
<style>
{{ style }}
</style>
</head>
<body>
<header>
<h1>Simulated: {{ played.scenario }} on {{ "{:,}".format(played.fleet.gpus) }} GPUs</h1>
<p class="meta"><span class="brand">viralload</span> · simulated, not measured · seed
{{ played.seed }}</p>
</header>
<main>
<section class="verdict"><p class="says">{{ headline }}</p></section>
<div class="box">{{ table(rows) }}</div>
<h2>The load, simulated</h2>
<div class="grid">
{% for drawn in load %}{{ figure(drawn, loop.first) }}{% endfor %}
</div>
<h2>What it stands on</h2>
<div class="box"><ul class="assumptions">
{% for stand, words in assumptions %}
<li><span class="tag {{ stand }}">{{ stand }}</span><span>{{ words }}</span></li>
{% endfor %}
</ul></div>
<footer>Made by viralload from a simulation; nothing on this page was measured on a fleet.
Percentiles are known to {{ "%.1f" % (100 * played.latency_resolution) }} % of themselves.</footer>
</main>
</body>
</html>
"""


def render(played: Simulated, needed: Needed | None = None) -> str:
    """The page."""
    whole = TEMPLATE.read_text(encoding="utf-8")
    macros = whole[: whole.index("<!doctype html>")]
    style = whole[whole.index("<style>") + len("<style>") : whole.index("</style>")]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = [
        {
            "panel": panel,
            "picture": Markup(panel.picture) if panel.picture else None,  # noqa: S704 - our SVG
            "medium": Markup(panel.medium) if panel.medium else None,  # noqa: S704
            "wide": Markup(panel.wide) if panel.wide else None,  # noqa: S704
        }
        for panel in panels(played)
    ]
    return environment.from_string(macros + PAGE).render(
        played=played,
        style=Markup(style.replace("{{ summary.verdict.value }}", "interrupted")),  # noqa: S704
        headline=headline(played),
        rows=rows(played, needed),
        load=drawn,
        assumptions=facts.tagged(played.assumptions),
    )
