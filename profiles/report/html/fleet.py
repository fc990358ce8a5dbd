"""A simulated hour as one HTML file, in the report's own style; no network, no JavaScript.

A run and a simulation look alike but for the word that tells them apart.
"""

from collections.abc import Sequence

from profiles.fleet.sizing import Needed
from profiles.report.charts.fleet import panels
from profiles.report.html.page import drawn, page
from profiles.report.text import tables
from profiles.report.text.fleet import headline, rows
from profiles.schema.fleet import Simulated


def render(
    played: Simulated, needed: Needed | None = None, about: Sequence[tables.Row] = ()
) -> str:
    """The page; `about` says of what it is: GPU's times, date, command."""
    return page(
        "fleet.html",
        colour="interrupted",  # no verdict
        played=played,
        headline=headline(played),
        rows=rows(played, needed),
        load=[drawn(panel) for panel in panels(played)],
        assumptions=tables.tagged(played.assumptions),
        about=about,
    )
