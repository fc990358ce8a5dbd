"""What a request that ends without images is answered. Pure."""

from serve.api.requests import ApiError
from serve.engine.admission import Refusal
from serve.engine.request import OutOfMemoryError
from serve.engine.ticket import ExpiredError, RefusedError

BODY_S = 30.0  # a request's head has so long to arrive, and its body so long again


def too_long(max_bytes: int) -> ApiError:
    """The answer to a body that is too long: 413."""
    return ApiError(413, f"the body is longer than {max_bytes} bytes", code="too_large")


def too_slow(limit_s: float) -> ApiError:
    """The answer to a body that does not come: 408."""
    return ApiError(
        408, f"the request did not arrive within {limit_s:.0f} s; send it again", code="too_slow"
    )


def outcome_of(err: Exception) -> str:
    """The label of `image_requests_total`."""
    if isinstance(err, ApiError):
        return "invalid"
    if isinstance(err, RefusedError):
        return "rejected"
    return "expired" if isinstance(err, ExpiredError) else "failed"


def answer_to(err: Exception) -> ApiError:
    """The answer to an error of the engine's or the model's: 429, 503, or 500."""
    if isinstance(err, ApiError):
        return err
    if isinstance(err, RefusedError):
        return _refused(err.refusal)
    if isinstance(err, ExpiredError):
        return ApiError(
            503,
            f"{err}; ask for fewer steps or images, or give it more time with deadline_s",
            code="deadline_exceeded",
            headers={"Retry-After": "1"},
        )
    if isinstance(err, OutOfMemoryError):
        return ApiError(
            503,
            f"{err}; ask for a smaller size",
            code="out_of_memory",
            headers={"Retry-After": "10"},
        )
    return ApiError(500, f"the model failed: {err}", code="model_failed")


def _refused(refusal: Refusal) -> ApiError:
    seconds = refusal.retry_after_s
    texts = {
        "queue_full": f"{refusal.waiting} images are waiting already;",
        "deadline": f"it would be done in {refusal.predicted_s or 0.0:.1f} s, past its deadline; "
        "give it more time with deadline_s, or",
        "shed": "it gave way to a paying request;",
    }
    codes = {"queue_full": "queue_full", "deadline": "would_be_late", "shed": "shed"}
    return ApiError(
        429,
        f"{texts[refusal.reason]} try again in {seconds} s",
        code=codes[refusal.reason],
        headers={"Retry-After": str(seconds)},
    )
