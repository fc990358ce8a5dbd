"""How each load generator is asked for a constant rate, or for a curve: its command line.

A generator is asked in the way that its own documentation shows for that rate, with no cap on
connections or concurrency below what the rate needs:

viralload   `viralload run` of a scenario with even arrivals: driver, sampler, Locust and all
locust      a FastHttpUser with constant_throughput(1), as many users as requests/s, spawned in 1 s
k6          constant-arrival-rate, every virtual user allocated before
vegeta      attack -rate -duration
aiperf      profile --request-rate-mode constant, endpoint type image-generation
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from loadtest.traffic.curve import FlashCrowd

PATH = "/v1/images/generations"
SIDE = 512
ASK = {"model": "null", "prompt": "a red fox", "n": 1, "size": f"{SIDE}x{SIDE}"}
TIMEOUT_S = 15
STEP_S = 0.25  # of a curve that is told as points

Command = list[str]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a generator is asked to send, and where.

    Attributes:
        url: `http://host:port`.
        folder: Of its own, for its files.
        rate_per_s: Requests/s.
        seconds: How long.
        answer_s: The longest that an answer takes: so many users must be there.
        processes: That send; of viralload.
        curve: In place of a constant rate; `rate_per_s` is then its peak.
    """

    url: str = ""
    folder: Path = Path()
    rate_per_s: float
    seconds: float
    answer_s: float = 0.0
    processes: int = 1
    curve: FlashCrowd | None = None

    @property
    def users(self) -> int:
        """Requests that may be under way at once."""
        return int(self.rate_per_s * (self.answer_s + 1.0)) + 50

    @property
    def rates(self) -> list[float]:
        """The curve at STEP_S distances: for who joins such points by lines."""
        assert self.curve is not None
        at_s = np.arange(0.0, self.seconds + STEP_S / 2, STEP_S)
        return [float(rate) for rate in self.curve.rate(at_s)]


def viralload(load: Load) -> Command:
    """`viralload run`, as its users start it."""
    curve = f'kind = "constant"\nrate_per_s = {load.rate_per_s!r}\nduration = {load.seconds!r}'
    if load.curve is not None:
        told = msgspec.to_builtins(load.curve, enc_hook=float)
        curve = "\n".join(f"{name} = {json.dumps(value)}" for name, value in told.items())
    path = load.folder / "null.toml"
    path.write_text(
        f'name = "null"\ntitle = "null"\n[curve]\n{curve}\n[load]\narrivals = "even"\n'
        f'[request]\nsize = "{SIDE}x{SIDE}"\ntimeout = {TIMEOUT_S}\nprompts = ["a red fox"]\n'
    )
    out = str(load.folder / "runs")
    command = [sys.executable, "-m", "loadtest.cli", "run", str(path), "--host", load.url]
    return [*command, "--processes", str(load.processes), "--out", out, "--json"]


_LOCUSTFILE = """
from locust import FastHttpUser, LoadTestShape, constant_throughput, task

class Plain(FastHttpUser):
    wait_time = constant_throughput(1)

    @task
    def ask(self):
        self.client.post({path!r}, json={ask!r})
"""

_SHAPE = """
class Curve(LoadTestShape):
    rates = {rates!r}

    def tick(self):
        at = self.get_run_time() / {step_s!r}
        k = int(at)
        if k >= len(self.rates) - 1:
            return None
        rate = self.rates[k] + (at - k) * (self.rates[k + 1] - self.rates[k])
        return max(1, round(rate)), max(1, round(rate))
"""


def locust(load: Load) -> Command:
    """Plain Locust."""
    text = _LOCUSTFILE.format(path=PATH, ask=ASK)
    path = load.folder / "locustfile.py"
    command = [sys.executable, "-m", "locust", "-f", str(path), "--host", load.url, "--headless"]
    command += ["--only-summary", "--stop-timeout", str(TIMEOUT_S)]
    if load.curve is not None:
        text += _SHAPE.format(rates=load.rates, step_s=STEP_S)
    else:
        users = str(round(load.rate_per_s))
        command += ["--users", users, "--spawn-rate", users, "--run-time", f"{load.seconds:g}s"]
    path.write_text(text)
    return command


def k6(load: Load) -> Command:
    """k6's open-loop executors."""
    executor: dict[str, object] = {
        "executor": "constant-arrival-rate",
        "rate": round(1000 * load.rate_per_s),
        "duration": f"{load.seconds:g}s",
    }
    if load.curve is not None:
        first, *others = (round(1000 * rate) for rate in load.rates)
        executor = {
            "executor": "ramping-arrival-rate",
            "startRate": first,
            "stages": [{"target": rate, "duration": f"{STEP_S:g}s"} for rate in others],
        }
    executor |= {
        "timeUnit": "1000s",
        "preAllocatedVUs": load.users,
        "gracefulStop": f"{TIMEOUT_S}s",
    }
    script = load.folder / "script.js"
    script.write_text(
        "import http from 'k6/http';\n"
        f"export const options = {{scenarios: {{load: {json.dumps(executor)}}}}};\n"
        f"const body = {json.dumps(json.dumps(ASK))};\n"
        "const params = {headers: {'Content-Type': 'application/json'}};\n"
        f"export default () => {{ http.post({json.dumps(load.url + PATH)}, body, params); }};\n"
    )
    return ["k6", "run", "--quiet", "--no-usage-report", "--no-summary", str(script)]


def vegeta(load: Load) -> Command:
    """Call `vegeta attack`."""
    (load.folder / "body.json").write_text(json.dumps(ASK))
    targets = load.folder / "targets"
    targets.write_text(
        f"POST {load.url}{PATH}\nContent-Type: application/json\n@{load.folder}/body.json\n"
    )
    return [
        "vegeta", "attack", f"-targets={targets}", f"-rate={load.rate_per_s:g}",
        f"-duration={load.seconds:g}s", f"-timeout={TIMEOUT_S}s", f"-workers={load.users}",
        f"-output={load.folder}/results",
    ]  # fmt: skip


# AIPerf counts tokens of what it sends and would fetch a tokenizer for that; this one has a word.
_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "fox": 1}, "unk_token": "[UNK]"},
}


def aiperf(load: Load) -> Command:
    """Call `aiperf profile`."""
    words = load.folder / "tokenizer"
    words.mkdir(parents=True, exist_ok=True)
    (words / "tokenizer.json").write_text(json.dumps(_TOKENIZER))
    (words / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"})
    )
    return [
        "aiperf", "profile", "--model", "null", "--url", load.url, "--tokenizer", str(words),
        "--endpoint-type", "image-generation", "--request-rate", f"{load.rate_per_s:g}",
        "--request-rate-mode", "constant", "--request-count",
        str(round(load.rate_per_s * load.seconds)), "--isl", "8", "--ui", "none",
        "--export-level", "summary", "--output-artifact-dir", str(load.folder / "artifacts"),
    ]  # fmt: skip


GENERATORS: dict[str, Callable[[Load], Command]] = {
    "viralload": viralload,
    "locust": locust,
    "k6": k6,
    "vegeta": vegeta,
    "aiperf": aiperf,
}
OURS = ("viralload", "locust")  # installed with viralload
CURVES = ("viralload", "locust", "k6")  # that can be asked for a curve


def is_here(name: str) -> bool:
    """Whether the generator can be started on this machine."""
    return name in OURS or shutil.which(name) is not None
