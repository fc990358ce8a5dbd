"""Places in the work of a CUDA stream: when the device got there, and waiting until it does.

`Event.synchronize` and `Stream.synchronize` spin on a core by default, three of them a replica;
these events let the thread sleep instead.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import torch


def mark(device: torch.device) -> torch.cuda.Event | None:
    """The end of what was launched on this thread's stream so far; None on a CPU.

    It remembers when the device got there: `seconds` between two of them, of any streams.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(enable_timing=True, blocking=True)
    event.record(torch.cuda.current_stream(device))
    return event


def wait(device: torch.device) -> torch.cuda.Event | None:
    """Sleep until all that was launched on this thread's stream is done; its end, as `mark`."""
    end = mark(device)
    if end is not None:
        end.synchronize()
    return end


def seconds(begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
    """Seconds of the device's clock between two marks that it has passed."""
    return float(begin.elapsed_time(end)) / 1e3
