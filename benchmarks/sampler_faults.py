"""Every fault that the scripted NVML knows, played to the real sampler: was it found and named?"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from profiles.record.columns import Gpu, gpu_columns
from profiles.record.folder import RunFolder
from profiles.schema import GpuState, RunEvent, SamplerSample
from profiles.telemetry.energy import GpuEnergy, gpu_energy
from tests.profiles import fake_nvml

PLAYED_S = 11.0  # a lost GPU is asked again after five
BRIEF_S = 1.5
UUID = "GPU-{:08d}-0000-0000-0000-000000000000"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a sampler recorded of one GPU, or of none."""

    events: list[RunEvent]
    states: list[GpuState]
    gpu: Gpu | None
    account: list[SamplerSample]

    def told(self, kind: str, words: str) -> bool:
        """Whether an event of that kind says so."""
        return any(event.kind == kind and words in event.detail for event in self.events)

    def unable(self, name: str, words: str) -> bool:
        """Whether the GPU's state says so of a reading, and the reading is nowhere."""
        return any(words in state.unable.get(name, "") for state in self.states)

    def energy(self) -> GpuEnergy | None:
        """Over what was sampled."""
        if self.gpu is None:
            return None
        span = (float(self.gpu.t_s[0]) + 0.5, float(self.gpu.t_s[-1]) - 0.5)
        return gpu_energy([self.gpu], *span).by_gpu[0]


def _metered(seen: Seen, attribute: str) -> bool:
    energy = seen.energy()
    return energy is not None and bool(getattr(energy.metered, attribute))


Found = Callable[[Seen], bool]
# All at once, a GPU each: name -> (its lines of the script, whether it was found)
TOGETHER: dict[str, tuple[list[str], Found]] = {
    "lost_and_back": (
        ["lost_after_s 3", "back_after_s 5"],
        lambda seen: seen.told("gpu_lost", "GPU is lost") and seen.told("gpu_back", "again"),
    ),
    "off_the_bus_and_back": (
        ["lost_after_s 3", "back_after_s 5", "lost_for_session 1", "xid 3 79"],
        lambda seen: seen.told("xid", "off the bus") and seen.told("gpu_back", "opened anew"),
    ),
    "xid_79": (["xid 2 79"], lambda seen: seen.told("xid", "fallen off the bus")),
    "xid_31": (["xid 2.5 31"], lambda seen: seen.told("xid", "memory it does not have")),
    "counter_frozen": (["counter_frozen_s 1"], lambda seen: _metered(seen, "frozen")),
    "counter_reset": (["counter_reset_s 4"], lambda seen: _metered(seen, "resets")),
    "counter_wraps": (
        ["counter_bits 32", f"energy_mj {2**32 - 1_500_000}"],
        lambda seen: _metered(seen, "wraps"),
    ),
    "not_supported": (
        ["unsupported util field:82"],
        lambda seen: (
            seen.unable("util_pct", "does not have it")
            and seen.unable("mem_temp_c", "does not have it")
        ),
    ),
    "old_driver": (
        ["error:field:83 13"],
        lambda seen: seen.unable("energy_j", "update the NVIDIA driver"),
    ),
    "no_permission": (["error:gpm 4"], lambda seen: seen.unable("tensor_pct", "no permission")),
    "hidden_processes": (
        ["process 4194300 1000000000"],
        lambda seen: seen.told("processes_hidden", "--pid=host"),
    ),
    "reading_fails": (["at 2 error:util 999"], lambda seen: seen.told("gpu_error", "util_pct")),
    "events_unsupported": (
        ["error:events 3"],
        lambda seen: seen.told("xids_unread", "no XIDs"),
    ),
}
# One after the other: name -> (script, options of the sampler, whether it was found)
ALONE: dict[str, tuple[str, list[str], Found]] = {
    "no_driver": (
        "- init 9\n",
        [],
        lambda seen: seen.told("gpu_absent", "load its module"),
    ),
    "no_library": (
        "- init 12\n",
        [],
        lambda seen: seen.told("gpu_absent", "install the NVIDIA driver"),
    ),
    "version_mismatch": (
        "- init 18\n",
        [],
        lambda seen: seen.told("gpu_unreadable", "restart the machine"),
    ),
    "no_access": ("- init 4\n", [], lambda seen: seen.told("gpu_unreadable", "/dev/nvidia")),
    "uuid_not_there": (
        "",
        ["--gpu", "GPU-nowhere"],
        lambda seen: seen.told("gpu_unknown", "GPU-nowhere"),
    ),
    "slow_calls": (
        "* slow_s 0.25\n",
        [],
        lambda seen: bool(seen.account) and seen.account[-1].missed > 0,
    ),
}


def find_faults(root: Path, library: Path) -> dict[str, bool]:
    """Whether each fault was found and named."""
    lines = [f"- gpus {len(TOGETHER)}", "* gpm 1"]
    for index, (script, _) in enumerate(TOGETHER.values()):
        lines += [f"{index} {line}" for line in script]
    folder = _play(root, library, "together", "\n".join(lines) + "\n", [], PLAYED_S)
    found = {
        name: is_found(_of_gpu(folder, index))
        for index, (name, (_, is_found)) in enumerate(TOGETHER.items())
    }
    for name, (text, options, is_found) in ALONE.items():
        folder = _play(root, library, name, text, options, BRIEF_S)
        found[name] = is_found(_of_gpu(folder, None))
    return found


def _play(
    root: Path, library: Path, name: str, script: str, options: list[str], seconds: float
) -> RunFolder:
    folder = RunFolder(root / name)
    folder.path.mkdir()
    command = [sys.executable, "-m", "profiles.sampler", str(folder.path), "--node", "n"]
    command += ["--zero", repr(time.monotonic()), *options]
    env = fake_nvml.environment(root, script, library)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as sampler:
        assert sampler.stdout
        sampler.stdout.readline()
        time.sleep(seconds)
        sampler.terminate()
    return folder


def _of_gpu(folder: RunFolder, index: int | None) -> Seen:
    """What was recorded of that GPU; None: of all together."""
    uuid = None if index is None else UUID.format(index)
    gpus = {gpu.uuid: gpu for gpu in gpu_columns(folder.gpu())}
    return Seen(
        events=[
            event
            for event in folder.events().read()
            if uuid is None or event.gpu_uuid in (uuid, None)
        ],
        states=[state for state in folder.states().read() if uuid in (None, state.uuid)],
        gpu=gpus.get(uuid or ""),
        account=folder.sampler().read(),
    )
