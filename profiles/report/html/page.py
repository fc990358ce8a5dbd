"""The pages' common ground: page.html, its style and its parts. The home of jinja2.

A page extends page.html and gives its title and body; everything put into it is escaped.
"""

from pathlib import Path

import jinja2
from markupsafe import Markup

from profiles.report.charts.panel import Panel

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(name: str, *, colour: str, **values: object) -> str:
    """The page of that template as HTML.

    Args:
        name: of the file, such as "report.html".
        colour: of the page's first box: a verdict, as a run's `Verdict` names it.
        values: what the template shows; a name it asks for and that is missing is an error.
    """
    return _PAGES.get_template(name).render(colour=colour, **values)


def drawn(panel: Panel) -> dict[str, object]:
    """A panel for the template; the SVG is ours, so it goes in as it is."""
    return {
        "panel": panel,
        "picture": Markup(panel.picture) if panel.picture else None,  # noqa: S704
        "medium": Markup(panel.medium) if panel.medium else None,  # noqa: S704
        "wide": Markup(panel.wide) if panel.wide else None,  # noqa: S704
    }
