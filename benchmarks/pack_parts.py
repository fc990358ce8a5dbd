"""Wheels in parts to be carried one at a time; `benchmarks.unpack` puts them together again."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

MIB = 2**20
PARTS = 2
LARGEST = 8  # named where it is too much


class PackError(Exception):
    """It cannot be packed; the text says what to do."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes [start, end) of a wheel, in a part from 1 on, as a file of that name."""

    wheel: str
    part: int
    file: str
    start: int
    end: int


def layout(sizes: Mapping[str, int], limit: int, parts: int = PARTS) -> list[Piece]:
    """Where each wheel goes, in as few parts as hold all, and those alike in size.

    The largest come first, whole where they fit; the others are cut over what room is left.

    Args:
        sizes: Bytes by wheel.
        limit: Most bytes of a part.
        parts: That there may be.

    Raises:
        PackError: It is more than all parts hold.
    """
    total = sum(sizes.values())
    ordered = sorted(sizes, key=lambda wheel: (-sizes[wheel], wheel))
    if total > parts * limit:
        largest = ", ".join(f"{name} {sizes[name] / MIB:.1f}" for name in ordered[:LARGEST])
        raise PackError(
            f"{total / MIB:.1f} MiB of wheels do not fit into {parts} parts of "
            f"{limit / MIB:g} MiB: say with --installed what the machine has; the largest, in MiB: "
            f"{largest}"
        )
    used = max(1, math.ceil(total / limit))
    room = [math.ceil(total / used)] * used
    pieces: list[Piece] = []
    cut: list[str] = []
    for wheel in ordered:
        part = next((at for at, left in enumerate(room) if left >= sizes[wheel]), None)
        if part is None:
            cut.append(wheel)
            continue
        room[part] -= sizes[wheel]
        pieces.append(Piece(wheel=wheel, part=part + 1, file=wheel, start=0, end=sizes[wheel]))
    for wheel in cut:
        start = 0
        for part in range(used):
            end = min(sizes[wheel], start + room[part])
            if end > start:
                file = f"{wheel}.{part:02d}"
                pieces.append(Piece(wheel=wheel, part=part + 1, file=file, start=start, end=end))
                room[part] -= end - start
                start = end
    return sorted(pieces, key=lambda piece: (piece.part, piece.file))


def write(out: Path, wheels: Sequence[Path], pieces: Sequence[Piece]) -> None:
    """The parts, each with the whole list and what unpacks them."""
    by_name = {wheel.name: wheel for wheel in wheels}
    listed = {
        "wheels": {
            name: {"bytes": wheel.stat().st_size,
                   "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
            for name, wheel in sorted(by_name.items())
        },
        "pieces": msgspec.to_builtins(pieces),
    }  # fmt: skip
    for number in sorted({piece.part for piece in pieces} | {1}):
        part = out / f"part-{number}"
        part.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("unpack.py"), part / "unpack.py")
        (part / "CONTENTS.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
        (part / "CONTENTS.txt").write_text(contents(pieces), encoding="utf-8")
    for piece in pieces:
        data = by_name[piece.wheel].read_bytes()[piece.start : piece.end]
        (out / f"part-{piece.part}" / piece.file).write_bytes(data)


def contents(pieces: Sequence[Piece]) -> str:
    """What went where, to read."""
    lines = []
    for part in sorted({piece.part for piece in pieces}):
        own = [piece for piece in pieces if piece.part == part]
        total = sum(piece.end - piece.start for piece in own)
        lines.append(f"part-{part}: {len(own)} files, {total / MIB:.1f} MiB")
        lines += [f"  {(piece.end - piece.start) / MIB:7.2f} MiB  {piece.file}" for piece in own]
    return "".join(f"{line}\n" for line in lines)
