"""One image asked for outside the load, on a connection of its own."""

from loadtest.answer import check, is_sampled, most_bytes
from loadtest.credentials import NONE, Credentials
from loadtest.job import Job
from loadtest.plain import Unanswered, ask
from loadtest.server_words import error_message, where_to
from profiles.printable import printable


def fault_of(job: Job, credentials: Credentials | None, seq: int) -> str | None:
    """What went wrong with request `seq`, in a line; None if one good image came back."""
    opened = credentials or NONE
    try:
        answer = ask(
            opened.url(job.endpoint),
            opened.headers,
            job.body(seq, 1),
            timeout_s=job.timeout_s,
            most_bytes=most_bytes(1, job.width, job.height, job.image_bytes),
        )
    except Unanswered as err:
        return printable(opened.mask(str(err)))
    body = opened.mask_bytes(answer.body)
    if answer.status != 200:
        words = error_message(body)
        if 300 <= answer.status < 400:
            words = where_to(opened.mask(answer.headers.get("location", "")), job.endpoint)
            words += ": give --host that address"
        return f"HTTP {answer.status}" + (f": {words}" if words else "")
    return check(body, 1, job.width, job.height, job.output_format, decode=is_sampled(seq)).fault
