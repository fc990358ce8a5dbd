"""A run folder as one HTML file: no network, no JavaScript, no GPU, Ray or Locust to make it.

`write_report` reads the folder; `render` is the pure core. Everything that comes from outside (the
scenario's words, labels, error texts, paths) is escaped by jinja2; only our own SVG is not.
"""

from pathlib import Path

from profiles import cards, facts, formats, group_facts, limit_facts, series, telemetry_facts, text
from profiles.device_panels import device_panels, untold
from profiles.each_gpu import each_gpu
from profiles.ledger import scoring
from profiles.ledger.ledger import FILE_NAME
from profiles.load_panels import load_panels
from profiles.pages import drawn, page
from profiles.record import columns
from profiles.record.columns import Recorded
from profiles.record.folder import RunFolder
from profiles.schema import Outcome, Summary, Verdict
from profiles.summary import run as summaries

SIGNS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.INVALID: "!",
    Verdict.INTERRUPTED: "■",
}


def write_report(folder: RunFolder) -> Path:
    """Make report.html from the folder alone, and give its path.

    Raises:
        RunError: run.json is unreadable, or the report cannot be written.
    """
    recorded = columns.read(folder)
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
    time = series.timeline(recorded)
    return page(
        "report.html",
        colour=summary.verdict.value,
        summary=summary,
        manifest=manifest,
        sign=SIGNS[summary.verdict],
        happened=_sentence(text.happened(summary, manifest)),
        cards=cards.cards(summary, manifest),
        people_cards=cards.people_cards(summary),
        outcomes=_outcome_shares(summary),
        decoded=group_facts.decoded(summary),
        group_table=group_facts.table(summary),
        group_meaning=group_facts.MEANING,
        load=[drawn(panel) for panel in load_panels(recorded, time)] if time else [],
        devices=[drawn(panel) for panel in device_panels(recorded, time)] if time else [],
        undrawn=untold(recorded) if time else [],
        each=each_gpu(recorded, time) if time else None,
        device_tables=[
            facts.gpu_table(summary),
            telemetry_facts.work_table(summary),
            telemetry_facts.phase_table(summary),
            facts.host_table(summary),
        ],
        held=_sentence(telemetry_facts.held_sentence(summary) or ""),
        energy_rows=telemetry_facts.energy_rows(summary),
        reading_rows=telemetry_facts.reading_rows(summary, manifest.load_start_s),
        limit=_sentence(limit_facts.limit_sentence(summary, manifest) or ""),
        limit_rows=[
            (name, _unbroken(told)) for name, told in limit_facts.limit_rows(summary, manifest)
        ],
        limit_meaning=limit_facts.MEANING,
        capacity=facts.capacity_rows(summary.capacity) if summary.capacity else [],
        record=record,
        swings=facts.swings(summary.capacity) if summary.capacity else [],
        assumptions=facts.stands(summary.capacity) if summary.capacity else [],
        replayed=facts.replayed(manifest),
        environment=facts.environment(manifest),
        as_text=formats,
    )


def _sentence(words: str) -> str:
    """With a capital, and unbroken."""
    return _unbroken(words[:1].upper() + words[1:])


def _unbroken(words: str) -> str:
    """No line break between a number and its percent sign."""
    return words.replace(" %", "\u00a0%")


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
