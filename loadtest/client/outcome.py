"""What an exchange says: the check of a good answer, the words of another. No secret is in them."""

from loadtest.client.content_coding import CodingError, unpack
from loadtest.client.credentials import Credentials
from loadtest.client.image_client import Exchange
from loadtest.client.response import Checked, check, most_bytes
from loadtest.client.server_errors import MAX_READ_BYTES, error_message, where_to
from loadtest.plan.job import Ask, Job


def held(
    exchange: Exchange, images: int, ask: Ask, job: Job, opened: Credentials, *, decode: bool
) -> Checked:
    """An answer of status 200, unpacked if it came packed, held against what was asked for.

    Args:
        exchange: Whole.
        images: Asked for.
        ask: What of them.
        job: The run.
        opened: What opens the server: goes before the server's words are cut.
        decode: Whether pixels are decoded, too.
    """
    most = most_bytes(images, ask.width, ask.height, job.image_bytes)
    try:
        body = unpack(exchange.body, exchange.headers.get("content-encoding", ""), most)
    except CodingError as err:
        return Checked(fault=opened.mask(str(err)))
    due = (images, ask.width, ask.height, job.output_format)
    checked = check(body, *due, decode=decode)
    return checked if checked.fault is None else check(opened.mask_bytes(body), *due, decode=False)


def words(exchange: Exchange, job: Job, opened: Credentials) -> str:
    """The status of another answer, and what it says of itself."""
    said = _said(exchange, job, opened)
    return f"HTTP {exchange.status}" + (f": {said}" if said else "")


def _said(exchange: Exchange, job: Job, opened: Credentials) -> str | None:
    if 300 <= (exchange.status or 0) < 400:
        told = where_to(opened.mask(exchange.headers.get("location", "")), job.endpoint)
        return f"{told}: give --host that address"  # followed, it could take the key along
    try:
        coding = exchange.headers.get("content-encoding", "")
        body = unpack(exchange.body, coding, MAX_READ_BYTES)
    except CodingError:
        return None
    return error_message(opened.mask_bytes(body))
