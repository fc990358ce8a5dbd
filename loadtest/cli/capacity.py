"""`viralload capacity`: what runs say of a block of GPUs, and what if.

0 a figure   1 the evidence bears none, or a file cannot be used   2 asked what cannot be
"""

import argparse
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loadtest.block.busy_hour import check_asks, draws
from loadtest.cli import ledger as ledger_verb
from loadtest.cli.results import as_json
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.plan.plan import demand
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import parse_scenario, scenario_text, with_overrides
from loadtest.system.terminal import show
from profiles import edge
from profiles.capacity.bill import Bill, Line, bill_of, one_price, table
from profiles.capacity.block import BLOCK_GPUS, ExtrapolationOptions, extrapolate, why_withheld
from profiles.capacity.evidence import Evidence, device, estimate
from profiles.capacity.goodput import GoodputAtSlo, measure_goodput
from profiles.capacity.prices import (
    Offer,
    PriceError,
    choose,
    elsewhere,
    read_prices,
    usable_price,
)
from profiles.capacity.published import evidence_of, published
from profiles.capacity.search_evidence import look_found, read_found
from profiles.capacity.sweep import Point, by_size, by_slo
from profiles.ledger import predictions, scoring
from profiles.ledger.ledger import FILE_NAME, LedgerError
from profiles.ledger.predictions import Record
from profiles.record import columns
from profiles.record.columns import Recorded
from profiles.record.folder import RunError, RunFolder
from profiles.report.text.capacity import capacity_text, sweep_text
from profiles.requests.burstiness import Arrivals
from profiles.requests.request_mix import mix_of
from profiles.requests.slo import EvidenceError, Slo, own_slo, parse_slo
from profiles.requests.target import servers_in_use
from profiles.schema import Capacity, Demand, EndReason, Stand
from profiles.summary.run import compute

MAX_BLOCKS = 10_000  # a billion GPUs


class WithheldError(ViralloadError):
    """The runs bear no block figure."""


def call(options: argparse.Namespace, command: list[str]) -> int:
    """The verb `capacity`; returns the exit code.

    Raises:
        ConfigurationError: runs, SLO or prices that cannot be.
        WithheldError: the evidence bears no figure.
    """
    try:
        return _capacity(options, command)
    except (EvidenceError, PriceError) as err:
        raise ConfigurationError(str(err)) from err
    except (LedgerError, RunError) as err:
        raise ViralloadError(str(err)) from err


def _capacity(options: argparse.Namespace, command: list[str]) -> int:
    prices = read_prices(options.prices) if options.prices else read_prices()
    slo = parse_slo(options.slo) if options.slo else None
    runs = [] if options.published else [_read(path) for path in options.runs]
    try:
        evidence, seen = _evidence(options, runs, slo)
    except EvidenceError:
        for folder, run in zip(options.runs, runs, strict=False):
            _check_bears(folder, run)  # what no other run of it would mend is told first
        raise
    gpu = published()[options.published].gpu if options.published else device(runs[0].manifest)
    offer = choose(prices, options.seller, gpu) if options.price is None else None
    bill = _bill(options, offer)
    root = options.runs[0].resolve().parent if runs else Path("runs")
    path = options.ledger or root / FILE_NAME
    record = scoring.record_of(path, runs[0].manifest if runs else None, root)
    for folder, run in zip(options.runs, runs, strict=True):
        _check_bears(folder, run)
    curve, event, name = _curve(options, evidence)
    gpus = _gpus(options, evidence)
    asked = replace(_asked(options, gpus, bill, record), curve=curve)
    if event is None and runs:
        event, name = runs[0].manifest.demand, runs[0].manifest.scenario
    found = extrapolate(evidence, asked, event, event=name)
    notes = _ceiling(options, evidence, found)
    if evidence.mix is not None:
        notes.append(
            f"It is a block of such requests: {evidence.mix.told}; other requests cost other."
        )
    sweeps = _sweeps(options, evidence, runs, asked)
    notes += _why(sweeps)
    lines = table(
        found, prices.event, prices.power, bill, elsewhere=elsewhere(prices, gpu, offer),
        subscriber_share=options.subscribers, weekly_revenue_usd=options.weekly_revenue,
        gpu_energy=_gpu_energy(options, runs), gpu=gpu,
    )  # fmt: skip
    if seen and not options.no_ledger:  # a figure that was refused predicts nothing
        _write_down(path, seen, record)
    _print(
        options,
        found,
        lines,
        predictions.told(record),
        notes,
        sweeps,
        _about(options, command, evidence, runs, gpu),
    )
    return 0


def _about(
    options: argparse.Namespace,
    command: list[str],
    evidence: Evidence,
    runs: list[Recorded],
    gpu: str,
) -> list[tuple[str, str]]:
    """Of what a page is, for whoever gets it without its words: model, GPU, runs, date, command."""
    named = sorted({run.manifest.target.model or "unknown" for run in runs})
    based = ", ".join(run.manifest.run_id for run in runs) or f"published: {options.published}"
    images = published()[options.published].images if options.published else ", ".join(named)
    return [
        ("Model", images),
        ("GPU", gpu),
        ("SLO", evidence.slo.text if evidence.has_slo else "none told"),
        ("Evidence", based),
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Command", shlex.join(command)),
    ]


def _write_down(path: Path, seen: list[GoodputAtSlo], record: Record) -> None:
    """What a figure predicts, once there is one; an unwritable ledger hides no figure."""
    try:
        written = ledger_verb.write(path, seen, record)
    except LedgerError as err:
        sys.stderr.write(f"warning: nothing was written to the ledger: {err}\n")
        return
    sys.stderr.write(f"ledger  {written} predictions written to {path}\n")


def _evidence(
    options: argparse.Namespace, runs: list[Recorded], slo: Slo | None
) -> tuple[Evidence, list[GoodputAtSlo]]:
    if options.published:
        if options.runs:
            raise EvidenceError("give either runs or --published, for they cannot be one estimate")
        return evidence_of(options.published, slo), []
    if not runs:
        raise EvidenceError(
            f"name a run folder, or --published with one of: {', '.join(published())}"
        )
    seen = [_look(path, run, slo) for path, run in zip(options.runs, runs, strict=True)]
    return estimate(seen), seen


def _look(path: Path, run: Recorded, slo: Slo | None) -> GoodputAtSlo:
    servers = servers_in_use(run.manifest)
    found = read_found(path)
    if found is not None:
        return look_found(found, run.manifest, servers, slo, run.requests)
    return measure_goodput(run, slo or own_slo(run.manifest), servers)


def _read(path: Path) -> Recorded:
    try:
        return columns.read(RunFolder.open(path))
    except RunError as err:
        raise ConfigurationError(str(err)) from err


def _check_bears(path: Path, run: Recorded) -> None:
    judged = read_found(path) or compute(run)
    stopped = run.manifest.end_reason is EndReason.INTERRUPTED
    withheld = why_withheld(run.manifest, valid=judged.valid, interrupted=stopped)
    if withheld is not None:
        reason = f" ({judged.reasons[0]})" if judged.reasons else ""
        raise WithheldError(f"{run.manifest.run_id}: no block figure. {withheld}{reason}")


def _gpus(options: argparse.Namespace, evidence: Evidence) -> int:
    """How many the block has: a cell's at least."""
    cell = options.cell or evidence.tested_gpus
    if options.blocks > MAX_BLOCKS:
        raise EvidenceError(f"--blocks: at most {MAX_BLOCKS:,}, got {options.blocks:g}")
    gpus: int = round(options.blocks * BLOCK_GPUS)
    if gpus < cell:
        raise EvidenceError(
            f"--blocks: {options.blocks:g} is {gpus:,} GPUs, fewer than a cell of {cell:,}; give "
            f"at least {cell / BLOCK_GPUS:g}"
        )
    return gpus


def _asked(
    options: argparse.Namespace, gpus: int, bill: Bill, record: Record
) -> ExtrapolationOptions:
    return ExtrapolationOptions(
        gpus=gpus,
        cell_gpus=options.cell,
        routing=options.routing,
        spare=options.spare,
        price_usd_per_gpu_h=bill.usd_per_gpu_h,
        doublings=record.doublings,
    )


def _curve(
    options: argparse.Namespace, evidence: Evidence
) -> tuple[tuple[Arrivals, ...], Demand | None, str | None]:
    """The arrivals of a cell under the scenario of --curve, the event it stands for, its name."""
    if options.curve is None:
        if options.arrivals is not None:
            raise EvidenceError("--arrivals says how those of --curve come; name a scenario there")
        return (), None, None
    text, folder = scenario_text(options.curve)
    load = {} if options.arrivals is None else {"arrivals": options.arrivals}
    scenario = with_overrides(parse_scenario(text), {"load": load})
    source = load_source(scenario, folder, whole=True)
    check_asks(scenario, evidence.mix, "what was given")
    cell = options.cell or evidence.tested_gpus
    drawn = draws(scenario, source, cell / evidence.service_s)
    return drawn, demand(scenario, source), scenario.name


def _gpu_energy(options: argparse.Namespace, runs: list[Recorded]) -> tuple[float, Stand] | None:
    """J an image of the GPUs alone: the mean over the runs that measured it, or as published."""
    if options.published:
        joules = published()[options.published].joules_per_image
        return None if joules is None else (joules, "published")
    told = [compute(run).energy_j_per_image for run in runs]
    known = [joules for joules in told if joules is not None]
    return (sum(known) / len(known), "measured") if known else None


def _bill(options: argparse.Namespace, offer: Offer | None) -> Bill:
    if offer is None:
        return one_price(usable_price(options.price), "stated with --price")
    return bill_of(offer)


def _ceiling(options: argparse.Namespace, evidence: Evidence, found: Capacity) -> list[str]:
    """What the shared layer was measured to carry, beside what a cell and the block ask of it."""
    cell = (options.cell or evidence.tested_gpus) * evidence.rate.value
    if options.ceiling is None:
        said = (
            "The layer before the cells was not measured: run with --model stub and name that run "
        )
        return [f"{said}with --ceiling."]
    run = _read(options.ceiling)
    if not run.manifest.target.is_stub:
        raise EvidenceError(f"--ceiling: {run.manifest.run_id} has a model; give a run of stub")
    summary = compute(run)
    most = summary.peak_completed_images_per_s
    if not summary.valid or not most:
        raise EvidenceError(f"--ceiling: {run.manifest.run_id} is INVALID or completed nothing")
    layers = (found.block_images_per_s or 0.0) / most
    said = (
        f"The shared layer was seen to carry {most:.3g} images/s without a model, on one machine "
        f"({run.manifest.run_id}): {most / cell:.3g} cells' worth; the block needs {layers:,.0f} "
        "of them side by side."
    )
    asked = mix_of(run.requests)
    if asked and evidence.mix and asked.told != evidence.mix.told:
        said += f" It was asked for {asked.told}, the runs for {evidence.mix.told}."
    return [said if most > cell else f"{said} It holds a cell up: the block figure is too high."]


def _sweeps(
    options: argparse.Namespace,
    evidence: Evidence,
    runs: list[Recorded],
    asked: ExtrapolationOptions,
) -> list[tuple[str, str, str, list[Point]]]:
    """Title, axis, unit and points."""
    if not options.sweep and options.html is None:
        return []
    found = [("Goodput against block size", "GPUs", "GPUs", by_size(evidence, asked))]
    if runs and not any(read_found(path) for path in options.runs):
        points = by_slo(runs, evidence.slo, asked)
        found.append(("Goodput against the SLO", "seconds", "s", points))
    return found


def _why(sweeps: list[tuple[str, str, str, list[Point]]]) -> list[str]:
    """What the curves cannot show."""
    if not sweeps:
        return []
    said = "Goodput against block size is straight because cells are taken to stand side by side: "
    told = [f"{said}what they share is not in it."]
    if len(sweeps) == 1:
        told.append(
            "There is no goodput against the SLO: what was published or searched for is known at "
            "one SLO only; give a run."
        )
    return told


def _print(
    options: argparse.Namespace,
    found: Capacity,
    lines: list[Line],
    record: str,
    notes: list[str],
    sweeps: list[tuple[str, str, str, list[Point]]],
    about: list[tuple[str, str]],
) -> None:
    if options.html is not None:
        from profiles.report.html.capacity import render  # altair is slow to import

        drawn = [(title, axis, points) for title, axis, _, points in sweeps]
        page = render(found, lines, record, notes, drawn, about)
        try:
            options.html.write_text(page, encoding="utf-8")
            sys.stderr.write(f"page    {options.html}\n")
        except OSError as err:  # the figures are told all the same
            sys.stderr.write(f"warning: cannot write {options.html}: {edge.reason(err)}\n")
    if options.json:
        told = {
            "capacity": found,
            "notes": notes,
            "ledger": record,
            "table": lines,
            "sweeps": [{"title": t, "unit": unit, "points": p} for t, _, unit, p in sweeps],
        }
        sys.stdout.write(as_json(told))
        return
    show(capacity_text(found, lines, record, notes))
    if options.sweep:
        for title, _, unit, points in sweeps:
            show("\n" + sweep_text(title, unit, points))
