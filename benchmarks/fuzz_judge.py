"""Which rules of the server's an exchange breaks. Pure.

Every request that is valid HTTP has one answer in time; nothing makes the server fail (5xx); every
error has OpenAI's form; a good answer holds what its form promises; nobody's traceback is told.
"""

import json
from typing import Any

import msgspec

from benchmarks.fuzz_case import Case

FIELDS = {"message", "type", "param", "code"}
# 503 by rule: the request's own deadline passed while it waited.
IN_TIME = "deadline_exceeded"
TRACES = (b"Traceback (most recent call last)", b'File "/')
RAYS_HEALTH = b"success"  # of GET /-/healthz, which Ray's own proxy offers to probes
# HAProxy's own pages for what it cannot read as HTTP: nothing can replace them.
OWN_PAGE = b"<html><body><h1>"
OWN_STATUSES = (400, 408, 422)


class Answer(msgspec.Struct, frozen=True):
    """An answer that came whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a case.

    Attributes:
        answers: Whole ones, interim ones left out.
        ended: Whether the server hung up.
        fault: Why what came is no HTTP, or was cut short; None: it is not.
        took_s: From the last byte sent, or from the first that came, to the last answer's end.
    """

    answers: tuple[Answer, ...] = ()
    ended: bool = False
    fault: str | None = None
    took_s: float = 0.0


def faults(case: Case, seen: Seen) -> list[str]:
    """The rules that are broken, in a few words each, the kind of rule first."""
    found = [] if seen.fault is None else [f"garbled: {seen.fault}"]
    count = len(seen.answers)
    if case.answers is not None and count > case.answers:
        found.append(f"extra: {count} answers where {case.answers} may come")
    if case.due == "answer" and case.answers is not None and count < case.answers:
        found.append(f"unanswered: {count} answers of {case.answers}")
    if case.due == "end" and not count and not seen.ended:
        found.append("unanswered: no answer, and no end")
    for number, answer in enumerate(seen.answers):
        found += _of_answer(answer, must_be_ours=case.due == "answer", is_head=case.is_head)
        due = case.statuses[number : number + 1]
        if due and answer.status != due[0]:
            found.append(f"status: {answer.status} where {due[0]} is due")
    return found


def is_own_page(answer: Answer) -> bool:
    """Whether it is HAProxy's own page for what is no HTTP."""
    return answer.status in OWN_STATUSES and answer.body.startswith(OWN_PAGE)


def _of_answer(answer: Answer, *, must_be_ours: bool, is_head: bool) -> list[str]:
    found = [f"traceback: {trace!r}" for trace in TRACES if trace in answer.body]
    if answer.status >= 500 and not (answer.status == 503 and _code(answer) == IN_TIME):
        found.append(f"5xx: {answer.status} {answer.body[:200]!r}")
    if is_head and not answer.body:
        return found
    if answer.status >= 400:
        if not _is_openais(answer) and (must_be_ours or not is_own_page(answer)):
            found.append(f"form: {answer.status} {answer.body[:200]!r}")
    elif answer.status == 200 and not _is_good(answer):
        found.append(f"good: {answer.body[:200]!r}")
    return found


def _error(answer: Answer) -> dict[str, Any] | None:
    try:
        told = json.loads(answer.body)
    except ValueError:
        return None
    error = told.get("error") if isinstance(told, dict) and set(told) == {"error"} else None
    return error if isinstance(error, dict) else None


def _code(answer: Answer) -> object:
    return (_error(answer) or {}).get("code")


def _is_openais(answer: Answer) -> bool:
    """Whether it is {"error": {"message", "type", "param", "code"}}, each of its type."""
    error = _error(answer)
    return (
        error is not None
        and set(error) == FIELDS
        and answer.headers.get("content-type") == "application/json"
        and all(isinstance(error[name], str) and error[name] for name in ("message", "type"))
        and all(isinstance(error[name], str | None) for name in ("param", "code"))
    )


def _is_good(answer: Answer) -> bool:
    """Whether a body of status 200 is what its type says."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return _is_stream(answer.body)
    if answer.body == RAYS_HEALTH:
        return True
    try:
        told = json.loads(answer.body)
    except ValueError:
        return False
    if not isinstance(told, dict):
        return False
    images = told.get("data") if "created" in told and "id" not in told else None
    if images is None:
        return bool({"status", "data", "id"} & set(told))
    return bool(images) and all(isinstance(one.get("b64_json"), str) for one in images)


def _is_stream(body: bytes) -> bool:
    """Whether the events are whole, and the last one is the image or an error."""
    events = body.split(b"\n\n")
    last = events[-2] if len(events) > 1 and not events[-1] else b""
    if last.startswith(b"event: error\ndata: "):
        data = last.removeprefix(b"event: error\ndata: ")
        return _is_openais(Answer(400, {"content-type": "application/json"}, data))
    return last.startswith(b"event: image_generation.completed\n")
