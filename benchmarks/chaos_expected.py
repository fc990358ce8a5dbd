"""What a run may say after what was done to it: verdicts, exit codes, whom it may blame. Pure."""

import re

import msgspec

from benchmarks.chaos_draw import SERVERS_PARTS, Act, Case

VALID = frozenset({"pass", "fail"})
EXITS = {"pass": 0, "fail": 99, "invalid": 3, "interrupted": 130}
KILLED = -9
SILENCE_S = 5.0  # the product's bound on the sampler's silence, and on a worker's

# What a reason accuses, by its first words, in the sentences of profiles.summary.validity.
CAUSES = (
    (r"The load generator died", "generator"),
    (r"The sampler died", "sampler"),
    (r"The server (died|was unhealthy)", "server"),
    (r"The run's driver was killed", "driver"),
    (r"The run ended with an error", "error"),
    (r"The run was stopped by the user", "user"),
    (r"Nothing was (scheduled|sent)", "nothing"),
    (r"The record does not add up", "record"),
    (r"The generator (was|may have been) late", "late"),
    (r"The event loop of generator", "late"),
    (r"The sending thread of generator", "late"),
    (r"Generator \S+ recorded nothing of itself", "late"),
    (r"The generator's own machine failed", "machine"),
    (r"The sampler was silent|There are no samples", "silent"),
    (r"Too (few|short)", "little"),
)

# What a machine that is busy just now may keep from starting at all.
BUSY = r"Ray did not start in time|workers came in \d+ s"

# Of an error before the load: the words that name a part.
NAMES = {
    "generator": r"load generator|worker",
    "sampler": r"sampler",
    "server": r"server|Ray|HAProxy|replica",
    "disk": r"full|No space|File too large|cannot write|cannot be written",
    "files": r"open files",
}


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may say.

    Attributes:
        verdicts: Those it may have, of its record as it is read afterwards.
        exits: Exit codes beside those of the verdicts; the only one if it is that of a killed run.
        first: Whom the first reason may accuse, if it is invalid.
        also: Whom further reasons may.
        words: What the first reason must say, a regular expression.
    """

    verdicts: frozenset[str]
    exits: frozenset[int] = frozenset()
    first: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    words: str = ""


def accused(reason: str) -> str | None:
    """Whom a reason for INVALID accuses; None where this table does not know the sentence."""
    return next((cause for words, cause in CAUSES if re.match(words, reason)), None)


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


def _invalid(*causes: str, words: str = "") -> Expected:
    return Expected(
        verdicts=_set("invalid"), first=frozenset(causes), also=_set("record"), words=words
    )


def expected(case: Case) -> Expected:
    """What is right for a case whose act hit its target."""
    act = case.act
    if act.how == "none":
        return Expected(verdicts=_set("pass"))
    if act.how in ("interrupt", "terminate", "leave"):
        return Expected(verdicts=_set("interrupted"), exits=frozenset({130}), also=_set("user"))
    if act.how in ("full disk", "short files"):
        return _scarce("generator", "error", "sampler", words=NAMES["disk"])
    if act.how == "few files":
        return _scarce("machine", "generator", "error", "sampler", words=NAMES["files"])
    if act.how == "stop":
        return _stopped(case)
    if act.under_load:
        return _killed(case)
    return _killed_anytime(act)


def _scarce(*causes: str, words: str) -> Expected:
    return Expected(
        verdicts=VALID | {"invalid"},
        exits=frozenset({1, 2}),
        first=frozenset(causes),
        also=_set("record", "nothing"),
        words=words,
    )


def _killed(case: Case) -> Expected:
    target = case.act.target
    if target == "driver":
        return Expected(
            verdicts=_set("invalid"), exits=frozenset({KILLED}), first=_set("driver"),
            also=_set("record", "server"),
        )  # fmt: skip
    if target in SERVERS_PARTS:
        return _server_killed(case)
    if target == "one generator":
        return _invalid("generator", words="1 of 2 generator processes were lost")
    if target == "worker":
        return _invalid("generator", words=r"lost worker \d")
    if target == "worker's generator":
        return _invalid("generator", words=r"lost worker \d.*signal 9")
    return _invalid("sampler" if target == "sampler" else "generator", words="signal 9")


def _server_killed(case: Case) -> Expected:
    target = case.act.target
    if case.setting != "embedded":  # what ails somebody else's server is a result, not a fault
        ended = target in ("server", "haproxy")
        return Expected(verdicts=_set("fail") if ended else VALID)
    if target == "controller":  # Serve starts it anew, and the replicas go on
        return Expected(verdicts=VALID)
    words = {
        "server": "signal 9",
        "haproxy": "HAProxy",
        "raylet": "Ray has died|unhealthy",  # whichever is seen first
        "gcs": "Ray has died|unhealthy",
        "replica": "unhealthy",
        "replicas": "unhealthy",
    }
    return _invalid("server", words=words[str(target)])


def _killed_anytime(act: Act) -> Expected:
    """At any instant: before the load, under it, or when nothing depends on it any more."""
    if act.target == "driver":
        return Expected(
            verdicts=VALID | {"invalid"}, exits=frozenset({KILLED}), first=_set("driver"),
            also=_set("record", "nothing", "server", "silent"),
        )  # fmt: skip
    part = "server" if act.target in SERVERS_PARTS else str(act.target)
    part = part if part in ("server", "sampler") else "generator"
    return Expected(
        verdicts=VALID | {"invalid"}, exits=frozenset({1}), first=_set(part, "error"),
        also=_set("record", "nothing"), words=NAMES[part],
    )  # fmt: skip


def _stopped(case: Case) -> Expected:
    act, workers = case.act, case.setting == "workers"
    is_long = act.for_s is None or act.for_s > SILENCE_S
    if act.target in SERVERS_PARTS:
        may = VALID | {"invalid"} if case.setting == "embedded" else VALID
        return Expected(verdicts=may, first=_set("server"))
    if act.target == "driver":
        return Expected(verdicts=VALID)
    if act.target == "sampler":
        return _invalid("silent") if is_long else Expected(verdicts=VALID)
    if act.target == "master":  # it plays nothing itself, but somebody must end the run
        return Expected(verdicts=VALID) if act.for_s is not None else _invalid("generator")
    if act.target == "worker":
        lost = _invalid("generator", words=r"lost worker \d")
        return lost if is_long else Expected(verdicts=VALID)
    if act.for_s is None:
        words = r"did not end|lost worker \d" if workers else "did not end|were lost"
        return _invalid("generator", words=words)
    return Expected(
        verdicts=_set("invalid"), first=_set("late", "generator"), also=_set("record"),
        words="late|stood still|recorded nothing|were lost|lost worker",
    )  # fmt: skip
