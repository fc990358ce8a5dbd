"""A simulated hour as one HTML file, in the report's own style; no network, no JavaScript.

A run and a simulation look alike but for the word that tells them apart.
"""

from collections.abc import Sequence

from profiles import facts
from profiles.fleet.sizing import Needed
from profiles.fleet_panels import panels
from profiles.fleet_text import headline, rows
from profiles.pages import drawn, page
from profiles.schema.fleet import Simulated


def render(played: Simulated, needed: Needed | None = None, about: Sequence[facts.Row] = ()) -> str:
    """The page; `about` says of what it is: GPU's times, date, command."""
    return page(
        "fleet.html",
        colour="interrupted",  # no verdict
        played=played,
        headline=headline(played),
        rows=rows(played, needed),
        load=[drawn(panel) for panel in panels(played)],
        assumptions=facts.tagged(played.assumptions),
        about=about,
    )
