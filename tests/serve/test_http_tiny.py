"""A saved pipeline served from its folder over HTTP, with the hub out of reach."""

import base64
import io
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.serve.conftest import ROOT, Server, command, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SEED = 7
ASKED = {
    "prompt": "a red fox in the snow",
    "negative_prompt": "dogs",
    "size": "96x64",
    "num_inference_steps": 5,
    "guidance_scale": 6.0,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as `save_pretrained` leaves it."""
    import torch

    from serve.models.architectures import build_random

    folder = tmp_path_factory.mktemp("weights")
    build_random("tiny", torch.device("cpu"), torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(weights: Path, start_server: Callable[..., Server]) -> Server:
    return start_server(model="tiny", weights=str(weights), device="cpu")


def images(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    files = [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]
    return [np.asarray(Image.open(io.BytesIO(file))).astype(int) for file in files]


def test_a_saved_pipeline_gives_diffusers_own_images(weights: Path, server: Server) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    load: Any = StableDiffusionPipeline.from_pretrained
    pipeline = load(str(weights))
    body = {**ASKED, "seed": SEED, "n": 2}
    served = images(httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60))
    assert len(served) == 2
    for i, image in enumerate(served):  # image i draws from generator SEED + i
        expected = pipeline(
            prompt=ASKED["prompt"],
            negative_prompt=ASKED["negative_prompt"],
            width=96,
            height=64,
            num_inference_steps=5,
            guidance_scale=6.0,
            generator=torch.Generator().manual_seed(SEED + i),
        ).images[0]
        assert np.abs(image - np.asarray(expected).astype(int)).max() <= 1


def test_the_model_list_names_the_folder(weights: Path, server: Server) -> None:
    (entry,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    told = entry["viralload"]
    assert (told["weights"], told["device"], told["is_stub"]) == (str(weights), "cpu", False)


def test_requests_at_once_share_batches(server: Server) -> None:
    body = {"prompt": "x", "n": 8, "num_inference_steps": 2}
    answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
    assert answer.headers["X-Batch-Mean"] == "8"


def test_what_the_text_encoder_does_not_see_is_told(server: Server) -> None:
    def told(**fields: str) -> str | None:
        body = {"prompt": "x", "num_inference_steps": 1, "seed": SEED, **fields}
        answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        header: str | None = answer.headers.get("X-Prompt-Truncated")
        return header

    assert told() is None
    assert (told(prompt="fox " * 100) or "").startswith("prompt: 77 of ")
    assert (told(negative_prompt="dog " * 100) or "").startswith("negative_prompt: 77 of ")


def test_an_answer_tells_its_flop(server: Server) -> None:
    (entry,) = httpx.get(f"{server.url}/v1/models").json()["data"]
    one = entry["viralload"]["flop_per_image"]
    assert one > 1e6
    url = f"{server.url}/v1/images/generations"
    answer = httpx.post(url, json={"prompt": "x", "n": 3}, timeout=60)
    assert float(answer.headers["X-Flop"]) == 3 * one


def test_requests_of_different_steps_guidance_and_scheduler_share_steps(server: Server) -> None:
    asked: list[dict[str, Any]] = [
        {"num_inference_steps": 150},
        {"num_inference_steps": 20, "scheduler": "dpm++2m", "guidance_scale": 1.0},
        {"num_inference_steps": 20, "scheduler": "euler", "guidance_scale": 3.0},
    ]
    url = f"{server.url}/v1/images/generations"

    def ask(fields: dict[str, Any]) -> httpx.Response:
        return httpx.post(url, json={"prompt": "x", "seed": SEED, **fields}, timeout=60)

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(ask, asked))
    assert max(float(answer.headers["X-Batch-Mean"]) for answer in together[1:]) > 1
    for fields, answer in zip(asked, together, strict=True):  # company changes no image
        difference = images(ask(fields))[0] - images(answer)[0]
        assert np.abs(difference).max() <= 1


def test_a_scheduler_the_model_does_not_offer_is_refused(server: Server) -> None:
    body = {"prompt": "x", "scheduler": "flow-euler"}
    answer = httpx.post(f"{server.url}/v1/images/generations", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "scheduler"


def test_it_computes_behind_the_load_generator(server: Server) -> None:
    """The compute thread is nicer than this process, which may carry a load generator."""
    (replica,) = (p for p in server.family() if "ServeReplica" in p.name())
    nicest = max(os.getpriority(os.PRIO_PROCESS, thread.id) for thread in replica.threads())
    assert nicest > psutil.Process().nice()


def test_sigkill_leaves_nothing_behind(server: Server) -> None:
    """The last test with this server: it ends it."""
    family = server.family()
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while any(_lives(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [process.name() for process in family if _lives(process)] == []


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_weights_that_do_not_load_end_it_with_1_and_one_line(weights: Path, free_port: int) -> None:
    (weights / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    done = subprocess.run(
        command({"model": "tiny", "weights": str(weights), "port": free_port}),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "weights: cannot load" in errors[0]
    assert "Traceback" not in done.stderr
