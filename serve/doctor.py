"""What this machine's devices can do, as torch sees them.

    python -m serve.doctor [--device auto|cpu|cuda] [--threads N] [--json]

measures every visible GPU, or the CPU, and prints it on stdout: a line a device, or with --json
one JSON line, a `Checkup`. stderr gets the progress.

Exit codes: 0 measured, 1 it could not be, 2 wrong usage, 130 interrupted.

torch is imported inside functions: that takes seconds, and usage is checked before it.
"""

import argparse
import itertools
import sys
from typing import TYPE_CHECKING

import msgspec

from serve.edge import in_words
from serve.settings import Settings, SettingsError, from_strings

if TYPE_CHECKING:
    from serve.devices.limits import DeviceLimits
    from serve.devices.torch_device import Card

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
BUDGET_S = 2.0  # a device


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What torch can use here, and what that was measured to do.

    Attributes:
        device: What was measured: `cuda` or `cpu`.
        torch_version: As torch tells it.
        cuda_build: The CUDA version torch was built with; None for a build without CUDA.
        cuda_fault: Why torch cannot use CUDA though it was built with it, in its own words.
        gpus: What torch tells of each GPU and what stands against it, in torch's order.
        limits: One a measured device, in the same order; a GPU with faults is not measured.
    """

    device: str
    torch_version: str
    cuda_build: str | None = None
    cuda_fault: str | None = None
    gpus: "list[Card]" = []
    limits: "list[DeviceLimits]"


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve.doctor", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", help="CPU threads; default: all usable cores but one")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    arguments = parser.parse_args(argv)
    fields: dict[str, object] = {"device": arguments.device}
    if arguments.threads is not None:
        fields["threads"] = arguments.threads
    try:
        settings = from_strings(fields)
    except SettingsError as err:
        return _fail(err, EXIT_USAGE)
    from serve.devices.limits import LimitsError

    try:
        checkup = examine(settings)
    except SettingsError as err:
        return _fail(err, EXIT_USAGE)
    except LimitsError as err:
        return _fail(err, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as err:  # noqa: BLE001 - the edge: there is nobody above
        return _fail(in_words(err), EXIT_FAILED)
    if arguments.json:
        print(msgspec.json.encode(checkup).decode())  # noqa: T201
    else:
        for limits in checkup.limits:
            print(line(limits))  # noqa: T201
        for fault in (fault for card in checkup.gpus for fault in card.faults):
            _say(f"fault: {fault}")
    return 0


def examine(settings: Settings) -> Checkup:
    """Measure what `settings.device` names, in the precision the server would use there.

    Raises:
        SettingsError: CUDA is asked for, but torch cannot use it.
        LimitsError: A device cannot be measured.
    """
    import torch

    from serve.devices.limits import measure
    from serve.devices.selection import unusable
    from serve.devices.torch_device import cuda_gpus, look

    gpus, fault = (0, None) if settings.device == "cpu" else cuda_gpus()
    if fault is not None:
        fault = unusable() or fault  # names the driver, MIG and modes, where torch does not
    if settings.device == "cuda" and not gpus:
        reason = fault or f"torch {torch.__version__} is built without CUDA"
        raise SettingsError(f"device=cuda: no CUDA GPU can be used ({reason}); use --device cpu")
    torch.set_num_threads(settings.cpu_threads)
    dtype = torch.bfloat16 if gpus else torch.float32
    names = [f"cuda:{index}" for index in range(gpus)] or ["cpu"]
    cards = [look(torch.device(name)) for name in names] if gpus else []
    found = []
    for name, card in itertools.zip_longest(names, cards):
        if card is not None and card.faults:
            continue  # told, and cannot be measured
        _say(f"measuring {name}")
        found.append(measure(torch.device(name), dtype, budget_s=BUDGET_S))
    return Checkup(
        device="cuda" if gpus else "cpu",
        torch_version=str(torch.__version__),
        cuda_build=torch.version.cuda,
        cuda_fault=fault,
        gpus=cards,
        limits=found,
    )


def line(limits: "DeviceLimits") -> str:
    """One device's limits in words."""
    fp8 = limits.fp8_flop_per_s
    words = [
        f"{limits.matmul_flop_per_s / 1e12:,.4g} TFLOP/s {limits.matmul_dtype} matmul",
        *([f"{fp8 / 1e12:,.4g} TFLOP/s float8 matmul"] if fp8 is not None else []),
        f"{limits.copy_bytes_per_s / 1e9:,.4g} GB/s copied (read + written)",
        *([f"{limits.threads} CPU threads"] if limits.threads is not None else []),
    ]
    return f"{limits.device_name}: {', '.join(words)}; measured in {limits.measured_s:.1f} s"


def _fail(err: Exception | str, code: int) -> int:
    print(f"error: {err}", file=sys.stderr, flush=True)  # noqa: T201
    return code


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
