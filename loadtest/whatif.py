"""`viralload capacity`: what runs say of a block of GPUs, and what if.

0 a figure   1 the evidence bears none, or a file cannot be used   2 asked what cannot be
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from loadtest import foretold
from loadtest.busy_hour import check_asks, draws
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.plan import demand
from loadtest.scenario import parse_scenario, scenario_text, with_overrides
from loadtest.source import load_source
from loadtest.terminal import show
from profiles import arrived, columns, predictions
from profiles.bursts import Arrivals
from profiles.capacity import (
    BLOCK_GPUS,
    Asked,
    extrapolate,
    servers_in_use,
    why_withheld,
)
from profiles.capacity_text import capacity_text, sweep_text
from profiles.columns import Recorded
from profiles.evidence import Evidence, device, estimate
from profiles.found import look_found, read_found
from profiles.ledger import FILE_NAME, LedgerError
from profiles.mix import mix_of
from profiles.money import Bill, Line, bill_of, one_price, table
from profiles.predictions import Record
from profiles.prices import (
    Offer,
    PriceError,
    choose,
    elsewhere,
    read_prices,
    usable_price,
)
from profiles.published import evidence_of, published
from profiles.run import RunError, RunFolder
from profiles.schema import Capacity, Demand, EndReason, Stand
from profiles.seen import Seen, look
from profiles.slo import EvidenceError, Slo, own_slo, parse_slo
from profiles.summary import compute
from profiles.sweep import Point, by_size, by_slo

MOST_BLOCKS = 10_000  # a billion GPUs


class WithheldError(ViralloadError):
    """The runs bear no block figure."""


def capacity(options: argparse.Namespace, _command: list[str]) -> int:
    """The verb `capacity`; returns the exit code.

    Raises:
        ConfigurationError: runs, SLO or prices that cannot be.
        WithheldError: the evidence bears no figure.
    """
    try:
        return _capacity(options)
    except (EvidenceError, PriceError) as err:
        raise ConfigurationError(str(err)) from err
    except (LedgerError, RunError) as err:
        raise ViralloadError(str(err)) from err


def _capacity(options: argparse.Namespace) -> int:
    prices = read_prices(options.prices) if options.prices else read_prices()
    slo = parse_slo(options.slo) if options.slo else None
    runs = [] if options.published else [_read(path) for path in options.runs]
    evidence, seen = _evidence(options, runs, slo)
    gpu = published()[options.published].gpu if options.published else device(runs[0].manifest)
    offer = choose(prices, options.seller, gpu) if options.price is None else None
    bill = _bill(options, offer)
    root = options.runs[0].resolve().parent if runs else Path("runs")
    path = options.ledger or root / FILE_NAME
    record = arrived.record_of(path, runs[0].manifest if runs else None, root)
    if seen and not options.no_ledger:
        sys.stderr.write(
            f"ledger  {foretold.write(path, seen, record)} predictions written to {path}\n"
        )
    for folder, run in zip(options.runs, runs, strict=True):
        _check_bears(folder, run)
    curve, event = _curve(options, evidence)
    gpus = _gpus(options, evidence)
    asked = replace(_asked(options, gpus, bill, record), curve=curve)
    found = extrapolate(evidence, asked, event or (runs[0].manifest.demand if runs else None))
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
    _print(
        options,
        found,
        lines,
        predictions.told(record),
        notes,
        sweeps,
    )
    return 0


def _evidence(
    options: argparse.Namespace, runs: list[Recorded], slo: Slo | None
) -> tuple[Evidence, list[Seen]]:
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


def _look(path: Path, run: Recorded, slo: Slo | None) -> Seen:
    servers = servers_in_use(run.manifest)
    found = read_found(path)
    if found is not None:
        return look_found(found, run.manifest, servers, slo, run.requests)
    return look(run, slo or own_slo(run.manifest), servers)


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
    if options.blocks > MOST_BLOCKS:
        raise EvidenceError(f"--blocks: at most {MOST_BLOCKS:,}, got {options.blocks:g}")
    gpus: int = round(options.blocks * BLOCK_GPUS)
    if gpus < cell:
        raise EvidenceError(
            f"--blocks: {options.blocks:g} is {gpus:,} GPUs, fewer than a cell of {cell:,}; give "
            f"at least {cell / BLOCK_GPUS:g}"
        )
    return gpus


def _asked(options: argparse.Namespace, gpus: int, bill: Bill, record: Record) -> Asked:
    return Asked(
        gpus=gpus,
        cell_gpus=options.cell,
        routing=options.routing,
        spare=options.spare,
        price_usd_per_gpu_h=bill.usd_per_gpu_h,
        doublings=record.doublings,
    )


def _curve(
    options: argparse.Namespace, evidence: Evidence
) -> tuple[tuple[Arrivals, ...], Demand | None]:
    """The arrivals of a cell under the scenario of --curve, and the event it stands for."""
    if options.curve is None:
        if options.arrivals is not None:
            raise EvidenceError("--arrivals says how those of --curve come; name a scenario there")
        return (), None
    text, folder = scenario_text(options.curve)
    load = {} if options.arrivals is None else {"arrivals": options.arrivals}
    scenario = with_overrides(parse_scenario(text), {"load": load})
    source = load_source(scenario, folder, whole=True)
    check_asks(scenario, evidence.mix, "what was given")
    cell = options.cell or evidence.tested_gpus
    return draws(scenario, source, cell / evidence.service_s), demand(scenario, source)


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
    cell = (options.cell or evidence.tested_gpus) * evidence.goodput.value
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
    options: argparse.Namespace, evidence: Evidence, runs: list[Recorded], asked: Asked
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
) -> None:
    if options.html is not None:
        from profiles.capacity_page import render  # altair is slow to import

        page = render(found, lines, record, notes, [(t, axis, p) for t, axis, _, p in sweeps])
        try:
            options.html.write_text(page, encoding="utf-8")
        except OSError as err:
            raise ViralloadError(f"cannot write {options.html}: {err.strerror or err}") from err
        sys.stderr.write(f"page    {options.html}\n")
    if options.json:
        told = {
            "capacity": found,
            "notes": notes,
            "ledger": record,
            "table": lines,
            "sweeps": [{"title": t, "unit": unit, "points": p} for t, _, unit, p in sweeps],
        }
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")
        return
    show(capacity_text(found, lines, record, notes))
    if options.sweep:
        for title, _, unit, points in sweeps:
            show("\n" + sweep_text(title, unit, points))
