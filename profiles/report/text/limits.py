"""How full the devices were, in words: a sentence, and rows for the report. Pure."""

from profiles import formats
from profiles.requests.target import target_shares_machine
from profiles.schema import RunManifest, Summary

Row = tuple[str, str]

MEANING = (
    "FLOP are 2 × MAC as the server reported them, of ok images done in the load. The mean counts "
    "the time without work too; the peak says how far the node was driven."
)


def limit_sentence(summary: Summary, manifest: RunManifest) -> str | None:
    """`100% utilized, 10% of the measured matmul limit: 75 of 752 TFLOP/s a GPU, ...`.

    None where the target told no FLOP.
    """
    if summary.achieved_tflops is None:
        return None
    busy = utilization(summary, manifest)
    begin = f"{busy}, " if busy else ""
    end = f"per {device_word(manifest)}, mean over the load"
    for name, reached, limit in (
        ("measured matmul", summary.limit_percent, summary.limit_tflops),
        ("datasheet", summary.datasheet_percent, summary.datasheet_tflops),
    ):
        if reached is not None:
            of = _of(formats.tflops(summary.achieved_tflops), formats.tflops(limit))
            return f"{begin}{percent(reached)} of the {name} limit: {of} {end}"
    achieved = formats.tflops(summary.achieved_tflops)
    return f"{begin}{achieved} {end}; the server reported no measured limit"


def limit_text(summary: Summary, manifest: RunManifest) -> str | None:
    """The sentence and the figures that go with it, for a terminal; None where nothing is told."""
    sentence = limit_sentence(summary, manifest)
    image = summary.tflop_per_image
    parts = [sentence] if sentence else []
    if summary.peak_limit_percent is not None:
        parts.append(f"{percent(summary.peak_limit_percent)} of it during the peak")
    if summary.limit_percent is not None and summary.datasheet_percent is not None:
        parts.append(f"{percent(summary.datasheet_percent)} of the datasheet limit")
    if image is not None:
        parts.append(f"{formats.tflop(image)} per image")
    return "; ".join(parts) or None


def limit_rows(summary: Summary, manifest: RunManifest) -> list[Row]:
    """The figures with what each is of; empty where the target told no FLOP."""
    if summary.tflop_per_image is None and summary.achieved_tflops is None:
        return []
    each, count = device_word(manifest), summary.achieved_devices
    rows = [("One image", f"{formats.tflop(summary.tflop_per_image)}, mean of the ok images")]
    if summary.achieved_tflops is None:
        return [
            *rows,
            ("Achieved", "unknown: not every ok image's FLOP, or no device count, was reported"),
        ]
    over = f"{count} {each}{'' if count == 1 else 's'}, mean over the load"
    rows.append(("Achieved", f"{formats.tflops(summary.achieved_tflops)} per {each} ({over})"))
    if summary.peak_achieved_tflops is not None:
        of = summary.peak_limit_percent
        share = "" if of is None else f", {percent(of)} of the measured limit"
        told = f"{formats.tflops(summary.peak_achieved_tflops)} per {each}{share}"
        rows.append((f"During the peak ({peak_length(summary)})", told))
    rows.append(
        (
            "Measured limit",
            _limit(summary.limit_tflops, summary.limit_percent, summary.limit_basis),
        )
    )
    if summary.datasheet_tflops is not None:
        sheet = (summary.datasheet_tflops, summary.datasheet_percent, summary.datasheet_basis)
        rows.append(("Datasheet limit", _limit(*sheet)))
    limits = manifest.target.limits
    if limits is not None and limits.copy_bytes_per_s is not None:
        copied = f"{formats.data(limits.copy_bytes_per_s)}/s, read plus written"
        rows.append(("Copy bandwidth, measured", copied))
    return rows


def utilization(summary: Summary, manifest: RunManifest) -> str | None:
    """How busy the devices that made the images were: the GPUs in use, or the machine's cores."""
    if manifest.target.device != "cpu" and summary.gpus:
        known = [gpu.util_mean_pct for gpu in summary.gpus if gpu.util_mean_pct is not None]
        used = sorted(known, reverse=True)[: summary.achieved_devices]  # the others had no replica
        return f"{formats.percent(sum(used) / len(used))} utilized" if used else None
    if manifest.target.device == "cpu" and target_shares_machine(manifest):
        busy = [host.cpu_mean_pct for host in summary.hosts if host.cpu_mean_pct is not None]
        return f"host CPU {formats.percent(busy[0])} busy" if busy else None
    return None


def device_word(manifest: RunManifest) -> str:
    """What the rates are a share of: a GPU, or a replica of a server on something else."""
    is_gpu = manifest.target.device not in (None, "cpu") or (
        manifest.target.device is None and bool(manifest.gpus)
    )
    return "GPU" if is_gpu else "replica"


def percent(value: float | None) -> str:
    """A percentage of a limit, which may be far below 1 or above 100: three digits."""
    return formats.UNKNOWN if value is None else f"{formats.number(value)}%"


def peak_length(summary: Summary) -> str:
    """How long the peak was."""
    if summary.peak_start_s is None or summary.peak_end_s is None:
        return formats.UNKNOWN
    return formats.seconds(summary.peak_end_s - summary.peak_start_s)


def _of(part: str, whole: str) -> str:
    """`75 of 752 TFLOP/s`, or both units where they differ."""
    number, _, unit = part.partition(" ")
    return f"{number if whole.endswith(f' {unit}') else part} of {whole}"


def _limit(tflops: float | None, reached: float | None, basis: str | None) -> str:
    if tflops is None:
        return "unknown: the server reported none"
    return f"{formats.tflops(tflops)}, {percent(reached)} of it on average: {basis}"
