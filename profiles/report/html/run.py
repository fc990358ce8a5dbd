"""A run folder as one HTML file: no network, no JavaScript, no GPU, Ray or Locust to make it.

`write_report` reads the folder; `render` is the pure core. Everything that comes from outside (the
scenario's words, labels, error texts, paths) is escaped by jinja2; only our own SVG is not.
"""

from pathlib import Path

from profiles import formats
from profiles.ledger import scoring
from profiles.ledger.ledger import FILE_NAME
from profiles.record import columns
from profiles.record.columns import Recorded
from profiles.record.folder import RunFolder
from profiles.report.charts import timeline
from profiles.report.charts.devices import device_panels, untold
from profiles.report.charts.gpu_rows import each_gpu
from profiles.report.charts.load import load_panels
from profiles.report.html import cards
from profiles.report.html.page import drawn, page
from profiles.report.text import groups as group_text
from profiles.report.text import hardware as hardware_text
from profiles.report.text import limits as limit_text
from profiles.report.text import run as run_text
from profiles.report.text import tables
from profiles.schema import Outcome, Summary, Verdict
from profiles.summary import run as summaries

SIGNS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.INVALID: "!",
    Verdict.INTERRUPTED: "■",
}


def write_report(folder: RunFolder, recorded: Recorded | None = None) -> Path:
    """Make report.html from the folder alone, and give its path.

    Args:
        folder: the run's.
        recorded: what it holds, where that was read already.

    Raises:
        RunError: run.json is unreadable, or the report cannot be written.
    """
    recorded = recorded or columns.read(folder)
    summary = folder.summary() if folder.summary_path.is_file() else summaries.compute(recorded)
    figure = summary.capacity is not None and summary.capacity.withheld is None
    record = (
        scoring.record_told(folder.path.parent / FILE_NAME, recorded.manifest) if figure else ""
    )
    folder.write_report(render(recorded, summary, record))
    return folder.report_path


def render(recorded: Recorded, summary: Summary, record: str = "") -> str:
    """The report as HTML; `record` says how well earlier predictions did."""
    manifest = recorded.manifest
    time = timeline.timeline(recorded)
    counted = timeline.since_load(recorded)
    return page(
        "report.html",
        colour=summary.verdict.value,
        summary=summary,
        manifest=manifest,
        sign=SIGNS[summary.verdict],
        happened=_sentence(run_text.happened(summary, manifest)),
        cards=cards.cards(summary, manifest),
        people_cards=cards.people_cards(summary),
        outcomes=_outcome_shares(summary),
        decoded=group_text.decoded(summary),
        group_table=group_text.table(summary),
        group_meaning=group_text.MEANING,
        load=[drawn(panel) for panel in load_panels(recorded, time, counted)] if time else [],
        devices=[drawn(panel) for panel in device_panels(recorded, time, counted)] if time else [],
        undrawn=untold(recorded) if time else [],
        each=each_gpu(recorded, time) if time else None,
        device_tables=[
            tables.gpu_table(summary),
            hardware_text.work_table(summary),
            hardware_text.phase_table(summary),
            tables.host_table(summary),
        ],
        held=_sentence(hardware_text.held_sentence(summary) or ""),
        energy_rows=hardware_text.energy_rows(summary),
        reading_rows=hardware_text.reading_rows(summary, manifest.load_start_s),
        limit=_sentence(limit_text.limit_sentence(summary, manifest) or ""),
        limit_rows=[(name, told) for name, told in limit_text.limit_rows(summary, manifest)],
        limit_meaning=limit_text.MEANING,
        capacity=tables.capacity_rows(summary.capacity) if summary.capacity else [],
        record=record,
        swings=tables.swings(summary.capacity) if summary.capacity else [],
        assumptions=tables.stands(summary.capacity) if summary.capacity else [],
        replayed=tables.replayed(manifest),
        environment=tables.environment(manifest),
        as_text=formats,
    )


def _sentence(words: str) -> str:
    """With a capital."""
    return words[:1].upper() + words[1:]


def _outcome_shares(summary: Summary) -> list[tuple[str, str, int, float]]:
    """Outcome, its word, requests, and percent of the scheduled ones."""
    return [
        (
            outcome.value,
            formats.OUTCOME_WORDS[outcome],
            summary.outcomes.get(outcome.value, 0),
            100.0 * summary.outcomes.get(outcome.value, 0) / max(1, summary.scheduled),
        )
        for outcome in Outcome
    ]
