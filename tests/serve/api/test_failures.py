import json

import pytest

from serve.api.failures import answer_to, outcome_of
from serve.api.requests import ApiError
from serve.engine.admission import Refusal
from serve.engine.request import OutOfMemoryError
from serve.engine.ticket import ExpiredError, RefusedError

FULL = RefusedError(Refusal(reason="queue_full", waiting=64, retry_after_s=7))
LATE = RefusedError(Refusal(reason="deadline", waiting=3, predicted_s=12.34, retry_after_s=3))
SHED = RefusedError(Refusal(reason="shed", waiting=64, retry_after_s=9))
MEMORY = OutOfMemoryError("one image alone does not fit into the GPU's free memory")


@pytest.mark.parametrize(
    ("err", "outcome", "status", "code", "type_", "retry_after", "told"),
    [
        (FULL, "rejected", 429, "queue_full", "rate_limit_error", "7",
         "64 images are waiting already; try again in 7 s"),
        (LATE, "rejected", 429, "would_be_late", "rate_limit_error", "3",
         "in 12.3 s, past its deadline; give it more time with deadline_s, or try again in 3 s"),
        (SHED, "rejected", 429, "shed", "rate_limit_error", "9",
         "it gave way to a paying request; try again in 9 s"),
        (ExpiredError(2.5), "expired", 503, "deadline_exceeded", "overloaded_error", "1",
         "not done within its deadline of 2.5 s; ask for fewer steps or images, or"),
        (MEMORY, "failed", 503, "out_of_memory", "overloaded_error", "10",
         f"{MEMORY}; ask for a smaller size"),
        (ValueError("no such layer"), "failed", 500, "model_failed", "server_error", None,
         "the model failed: no such layer"),
        (ApiError(400, "n: no", param="n", code="invalid_value"), "invalid", 400, "invalid_value",
         "invalid_request_error", None, "n: no"),
    ],
)  # fmt: skip
def test_what_each_error_is_answered(
    err: Exception,
    outcome: str,
    status: int,
    code: str,
    type_: str,
    retry_after: str | None,
    told: str,
) -> None:
    answer = answer_to(err)
    error = json.loads(answer.body())["error"]
    assert outcome_of(err) == outcome
    assert (answer.status, error["code"], error["type"]) == (status, code, type_)
    assert answer.headers.get("Retry-After") == retry_after
    assert told in error["message"]
