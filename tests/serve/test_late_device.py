"""The late device itself: what it lets pass, as CUDA does, and what it finds."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.serve.late import Late  # noqa: E402 - it needs torch
from tests.serve.late_streams import CaptureError  # noqa: E402

CUDA = torch.device("cuda", 0)
GIVEN_BACK = ["memory of stream 1 was given back while stream 0 had yet to work on it"]


@pytest.fixture
def late() -> Iterator[Late]:
    device = Late()
    with device.installed(), torch.inference_mode():
        yield device


def test_results_are_poisoned_until_the_host_waits(late: Late) -> None:
    x = torch.ones(3, device=CUDA)
    pinned = torch.empty(3, pin_memory=True)
    pinned.copy_(x * 2, non_blocking=True)
    assert pinned.isnan().all()
    torch.cuda.synchronize()
    assert pinned.tolist() == [2.0] * 3
    assert (late.waits, late.faults) == (["synchronize"], [])


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.tolist(),
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x == 2).all()),
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
        lambda x: x.index_put_((x > 1,), torch.zeros((), device=CUDA)),
        lambda x: torch.equal(x, x),
        lambda x: x.new_tensor([1.0]),
        lambda x: x.copy_(torch.zeros(3)),
        lambda x: x[torch.tensor([0, 2])],
        lambda x: torch.tensor([1.0], device=CUDA),
        lambda x: torch.zeros(2).to(CUDA),
    ],
)
def test_to_look_is_to_wait(late: Late, look: Any) -> None:
    look(torch.full((3,), 2.0, device=CUDA))
    assert len(late.waits) == 1


def test_values_and_devices_are_those_of_torch(late: Late) -> None:
    x = torch.arange(6.0, device=CUDA).view(2, 3)
    assert (x.device, x.is_cuda, x.cpu().device.type) == (CUDA, True, "cpu")
    assert (x[1:].mT @ x[1:]).tolist() == [[9, 12, 15], [12, 16, 20], [15, 20, 25]]
    assert x[x > 3].tolist() == [4, 5]
    x[:, 0] = -1
    assert x[torch.tensor([1, 0])].tolist() == [[-1, 4, 5], [-1, 1, 2]]
    assert x.to(torch.int64).cpu().dtype == torch.int64
    assert torch.cat([x.half(), x.half()], 1).split(3, dim=1)[1].tolist() == x.tolist()
    assert late.faults == []


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: x + torch.ones(3), RuntimeError, "on the same device"),
        (lambda x: x.numpy(), TypeError, "use Tensor.cpu"),
        (lambda x: x.pin_memory(), RuntimeError, "cannot pin"),
    ],
)
def test_devices_do_not_mix(late: Late, call: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        call(torch.ones(3, device=CUDA))


@pytest.mark.parametrize("waits", [False, True])
def test_what_overtakes_another_stream_is_a_fault(late: Late, waits: bool) -> None:
    x = torch.ones(3, device=CUDA)
    other = torch.cuda.Stream()
    if waits:
        other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        y = (x + 1).cpu()
    assert (y.tolist() == [2.0] * 3) is waits
    assert len(late.faults) == (0 if waits else 1)


@pytest.mark.parametrize(
    ("care", "faults"),
    [("none", GIVEN_BACK), ("record_stream", []), ("wait", []), ("synchronize", [])],
)
def test_memory_given_back_too_early_is_a_fault(late: Late, care: str, faults: list[str]) -> None:
    other, current = torch.cuda.Stream(), torch.cuda.current_stream()
    with torch.cuda.stream(other):
        x = torch.ones(3, device=CUDA)
    current.wait_stream(other)
    y = x[:2] * 2
    if care == "record_stream":
        x.record_stream(current)
    elif care == "wait":
        other.wait_stream(current)
    elif care == "synchronize":
        current.synchronize()
    del x
    assert (y.tolist() == [2.0, 2.0]) is (not faults)
    assert late.faults == faults


def test_a_graph_runs_again_on_the_same_memory(late: Late) -> None:
    x, y = torch.zeros(2, device=CUDA), torch.zeros(2, device=CUDA)
    pinned = torch.empty(2, pin_memory=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle()):
        y.add_(x * 10)
    assert y.tolist() == [0, 0]
    for value in (1.0, 2.0):
        pinned.fill_(value)
        x.copy_(pinned, non_blocking=True)
        graph.replay()
        torch.cuda.current_stream().synchronize()
    assert y.tolist() == [30, 30]
    assert late.faults == []
    del x
    graph.replay()
    torch.cuda.synchronize()
    assert late.faults == ["a graph is replayed on memory that was given back"]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: x.copy_(torch.zeros(3), non_blocking=True),
        lambda x: torch.tensor([1.0], device=CUDA),
        lambda x: torch.cuda.synchronize(),
        lambda x: torch.zeros(3).pin_memory(),
    ],
)
def test_a_capture_permits_no_wait_and_no_pageable_memory(late: Late, call: Any) -> None:
    x = torch.zeros(3, device=CUDA)
    with pytest.raises(CaptureError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        call(x)


def test_events_know_the_devices_time(late: Late) -> None:
    began, ended = (torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2))
    other = torch.cuda.Stream(CUDA, priority=-1)
    began.record()
    x = torch.zeros(3, device=CUDA) + 1
    other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        (x + 1).mul_(2)
        ended.record()
    assert not ended.query()
    with pytest.raises(RuntimeError, match="not ready"):
        began.elapsed_time(ended)
    ended.synchronize()
    assert began.elapsed_time(ended) == pytest.approx(4 * 0.01)  # kernels of 10 us
    assert late.waits == ["event.synchronize"]


def test_a_kernel_that_fails_is_a_fault_and_hinders_no_other(late: Late) -> None:
    indices = torch.full((1,), 9, device=CUDA)
    torch.zeros(3, device=CUDA).index_select(0, indices)
    assert torch.ones(1, device=CUDA).tolist() == [1.0]
    (fault,) = late.faults
    assert "index_select" in fault


def test_threads_have_streams_of_their_own_and_share_the_device(late: Late) -> None:
    made: list[Any] = []

    def work() -> None:
        late.enter_thread()
        assert torch.cuda.current_stream() is torch.cuda.default_stream()
        torch.cuda.set_stream(torch.cuda.Stream())
        with torch.inference_mode():
            made.append((torch.ones(2, device=CUDA) + 1, torch.cuda.current_stream()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (x, stream) = made[0]
    assert torch.cuda.current_stream() is not stream
    torch.cuda.current_stream().wait_stream(stream)
    assert x.tolist() == [2.0, 2.0]
    assert late.faults == []


@pytest.mark.parametrize("seed", range(5))
def test_at_random_what_is_ordered_stays_right(seed: int) -> None:
    late = Late(seed)
    with late.installed(), torch.inference_mode():
        streams = [torch.cuda.Stream() for _ in range(3)]
        x = torch.zeros(2, device=CUDA)
        for i in range(30):
            stream, before = streams[i % 3], streams[(i - 1) % 3]
            stream.wait_stream(torch.cuda.current_stream() if i == 0 else before)
            with torch.cuda.stream(stream):
                x.mul_(2).add_(1).remainder_(1000)
        torch.cuda.synchronize()
        assert x.tolist() == [(2**30 - 1) % 1000] * 2
    assert late.faults == []
