"""Energy of a machine's processors and memory, as the kernel reads it from RAPL.

Linux shows RAPL (running average power limit; Intel's and AMD's processors count their energy) as
folders of /sys/class/powercap:

    intel-rapl:0     a processor: `name` "package-0"
    intel-rapl:0:0   a part of it: "dram", "core", "uncore"

`energy_uj` is a counter in microjoules that goes on from 0 after `max_energy_range_uj`, which at
full load may take less than a minute; here it is one that only grows. Since 2020 (CVE-2020-8694)
only root may read it.

Of Linux' Documentation/power/powercap/powercap.rst. "psys" (the whole platform) holds the packages
once more, "core" and "uncore" are within them: they do not count.
"""

from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
REMEDY = (
    "to have them, run as root or let everybody read them: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start)"
)


class Spent(NamedTuple):
    """Joules since the first look, of all processors; None where they cannot be read."""

    cpu_j: float | None
    dram_j: float | None


class Rapl:
    """The machine's energy counters.

    `unreadable` says why counters that are there cannot be read, with the remedy; None where there
    are none, or all can be.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.unreadable: str | None = None
        self._packages: list[_Zone] = []
        self._drams: list[_Zone] = []
        for folder in sorted(powercap.glob("intel-rapl:*")):
            try:
                name = (folder / "name").read_text().strip()
            except OSError:
                continue
            if name.startswith("package-"):
                zones = self._packages
            elif name == "dram":
                zones = self._drams
            else:
                continue
            zones.append(_Zone(folder))
        self.read()  # energy counts from here
        denied = [str(zone.folder / "energy_uj") for zone in self._zones() if zone.denied]
        if denied:
            self.unreadable = f"energy counters may not be read ({', '.join(denied)}): {REMEDY}"

    def read(self) -> Spent:
        """What was spent since the first look. Look more often than a counter goes round."""
        return Spent(_sum(self._packages), _sum(self._drams))

    def _zones(self) -> list["_Zone"]:
        return [*self._packages, *self._drams]


class _Zone:
    """One counter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.denied = False
        self._last_uj: int | None = None
        self._spent_uj = 0
        self._range_uj = _number(folder / "max_energy_range_uj")

    def spent_j(self) -> float | None:
        try:
            now_uj = int((self.folder / "energy_uj").read_text())
        except PermissionError:
            self.denied = True
            return None
        except (OSError, ValueError):
            return None
        if self._last_uj is not None:
            rise_uj = now_uj - self._last_uj
            if rise_uj < 0:  # it went round
                rise_uj += self._range_uj or 0
            self._spent_uj += max(0, rise_uj)
        self._last_uj = now_uj
        return self._spent_uj / 1e6


def _sum(zones: list[_Zone]) -> float | None:
    """The zones' sum, or None where there is none or one is not known."""
    spent = [zone.spent_j() for zone in zones]
    known = [joules for joules in spent if joules is not None]
    return sum(known) if known and len(known) == len(spent) else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
