"""The server to load: what it says of itself, asked before any load is sent."""

import contextlib
import json
import secrets
import socket
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn
from urllib.parse import urljoin, urlsplit

import msgspec

from loadtest.client import server_claims
from loadtest.client.address import MODELS, Address
from loadtest.client.credentials import Credentials
from loadtest.client.model_choice import choose
from loadtest.client.server_errors import error_message
from loadtest.client.single_request import Answer, Unanswered, ask
from loadtest.errors import TargetError
from profiles.escaping import printable
from profiles.schema import Approximation, DeviceLimits

FALLBACK_SIZE = "1024x1024"  # what the OpenAI Images API makes unless told otherwise
MAX_BATCH_TOLD = 256
LIST_S = 10.0  # for the list of models, from the connection to its last byte
MISSING = (404, 405, 410, 501)  # a server that makes images may list nothing
REFUSED = (401, 403)
MIN_MASKED = 12  # characters of a secret that a model's name is cleaned of


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said of one of its models; None where it did not say."""

    model: str | None = None
    default_size: str | None = None
    default_steps: int | None = None
    is_stub: bool = False
    replicas: Annotated[int, msgspec.Meta(ge=1)] | None = None
    device: str | None = None
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH_TOLD)] | None = None
    limits: DeviceLimits | None = None  # measured by the server, of one device
    flop_per_image: float | None = None  # at the default size and steps
    approximations: list[Approximation] = []
    image_s: Annotated[float, msgspec.Meta(ge=0)] | None = None  # an image takes alone
    is_viralload: bool = False  # it takes fields beyond OpenAI's
    path: str = "/v1/images/generations"  # where its images are asked for, query included
    said: tuple[str, ...] = ()  # what was taken for granted, to be told to the user


def ask_models(address: Address, credentials: Credentials, model: str | None) -> Offer:
    """What the server offers under `model`, or under the one model that makes images.

    The API is where the list of models is found, among the paths where `address` says it may be;
    where there is no list at all, at the first of them.

    Raises:
        TargetError: unreachable, refuses the key, does not offer the model, offers several, or
            does not answer as an OpenAI-compatible server does.
    """
    bases = address.bases()
    none: list[_NoList] = []
    entries: list[dict[str, Any]] = []
    for base in bases:
        found = _entries(address, base, credentials)
        if not isinstance(found, _NoList):
            entries = found
            break
        none.append(found)
    else:
        base = bases[0]
        if none[0].is_odd:
            raise TargetError(none[0].why)
    offered = {one["id"]: one for one in entries}
    name, said = choose(offered, model, address.shown)
    offer = _offer(name, offered.get(name or "", {}).get("viralload"))
    path = address.images(base)
    notes = [] if said is None else [said]
    if base != bases[0] or not offered:
        at = f"{address.origin}{path.partition('?')[0]}"
        why = ", ".join(one.why for one in none) or "its list is empty"
        notes.append(f"images are asked for at {at} ({why})")
    return msgspec.structs.replace(offer, path=path, said=tuple(notes))


class _NoList(msgspec.Struct, frozen=True):
    """What there is where a list of models was looked for."""

    why: str
    is_odd: bool = False  # an answer, and none of such a server


def _entries(
    address: Address, base: str, credentials: Credentials
) -> list[dict[str, Any]] | _NoList:
    """The models listed at `base`; or, where there is no list, what there is instead.

    Raises:
        TargetError: There is no answer, or one that says more than that no list is there.
    """
    url = address.origin + address.models(base)
    shown = printable(url, 200)
    for _ in range(2):  # a second time where only the slash at the end was wrong
        try:
            answer = ask(credentials.url(url), credentials.headers, timeout_s=LIST_S)
        except Unanswered as err:
            up = ". Is the server up?" if err.may_be_down else ""
            why = printable(credentials.mask(str(err)))
            raise TargetError(f"cannot reach {address.shown}: {why}{up}") from None
        moved = _location(answer, url) or url
        if not (300 <= answer.status < 400 and moved.rstrip("/") == url.rstrip("/") != moved):
            break
        url = moved
    if answer.status in MISSING:
        return _NoList(f"{answer.status} at {shown}")
    if answer.status != 200 and base != address.bases()[0] and answer.status not in REFUSED:
        return _NoList(f"{answer.status} at {shown}")
    if answer.status != 200:
        _refused(address, credentials, answer, url)
    entries = _listed(answer.body, credentials)
    if entries is None:
        words = error_message(credentials.mask_bytes(answer.body))
        says = f": {words}" if words else ""
        return _NoList(f"{shown} did not answer as an OpenAI server does{says}", is_odd=True)
    return entries


def _listed(body: bytes, credentials: Credentials) -> list[dict[str, Any]] | None:
    """The entries of a list of models, OpenAI's or a bare JSON list; None if it is neither."""
    try:
        entries: Any = json.loads(body)  # with the NaN and infinities that some servers tell
        if isinstance(entries, dict):
            entries = entries.get("data")
        if not isinstance(entries, list):
            return None
        entries = json.loads(credentials.mask(json.dumps(entries), MIN_MASKED))
    except (ValueError, RecursionError):
        return None
    return [one for one in entries if isinstance(one, dict) and _is_name(one.get("id"))]


def _is_name(value: object) -> bool:
    """Whether it is text that can be sent back: no half of a surrogate pair."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _refused(address: Address, credentials: Credentials, answer: Answer, url: str) -> NoReturn:
    """Say why a list of models was not given.

    Raises:
        TargetError: Always.
    """
    status = answer.status
    words = error_message(credentials.mask_bytes(answer.body))
    says = f": {words}" if words else ""
    if status in REFUSED:
        raise TargetError(
            f"{address.shown} answered {status}: {credentials.refused}"
            + (f" (it says{says})" if says else "")
        )
    if 300 <= status < 400:
        raise TargetError(_redirected(address, answer, url, credentials))
    if status == 429:
        raise TargetError(f"{address.shown} answered 429, too many requests{says}")
    raise TargetError(f"{printable(url, 200)} answered {status}{says}. Is the server healthy?")


def _redirected(address: Address, answer: Answer, url: str, credentials: Credentials) -> str:
    """A redirect is an error: the key must not travel to another place."""
    found = _location(answer, url)
    if found is None:
        return f"{address.shown} redirects to no URL: see --host"
    location = urlsplit(found)
    target = f"{location.scheme}://{location.netloc.rpartition('@')[2]}{location.path}"
    start = f"{address.shown} redirects to"
    target = credentials.mask(target)
    base = target.rstrip("/").removesuffix(MODELS)
    is_elsewhere = base == target.rstrip("/") and location.path.strip("/")
    if is_elsewhere or target == url.partition("?")[0]:
        return f"{start} {printable(target, 200)}, which is no list of models: see --host"
    return f"{start} {printable(target, 200)}: give --host {printable(base, 200)}"


def _location(answer: Answer, url: str) -> str | None:
    """Where a redirect leads, made absolute; itself where it does not say; None: to no URL."""
    try:
        target = urljoin(url, answer.headers.get("location", ""))
        urlsplit(target)
    except ValueError:
        return None
    return target


def _offer(model: str | None, extra: Any) -> Offer:
    """What the server said of the model beyond OpenAI's fields, as far as it makes sense."""
    if not isinstance(extra, dict):
        return Offer(model=model)
    checked = ("limits", "flop_per_image", "approximations")
    plain = {key: value for key, value in extra.items() if key not in checked}
    try:
        offer = msgspec.convert({**plain, "model": model}, Offer)
    except msgspec.ValidationError:
        offer = Offer(model=model)
    return msgspec.structs.replace(
        offer,
        is_viralload=True,
        limits=server_claims.device_limits(extra.get("limits")),
        flop_per_image=server_claims.flop(extra.get("flop_per_image")),
        approximations=server_claims.approximations(extra),
    )


def is_healthy(base_url: str, timeout_s: float = 2.0) -> bool | None:
    """Whether /health answers 200 (True) or 503 (False); None if there is no answer at all."""
    try:
        return ask(f"{base_url}/health", {}, timeout_s=timeout_s).status == 200
    except Unanswered:
        return None


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and that no one is given by chance.

    The kernel gives whoever asks for any port one of 32768 to 60999 (ip(7)), and the many processes
    of a starting Ray ask for dozens; 10002 to 19999 are its workers' and 30000 to 31000 its
    replicas'. So it is one of 20000 to 29999, or any at all where those are taken.
    """
    with socket.socket() as probe:
        for _ in range(100):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", 20_000 + secrets.randbelow(10_000)))
                break
        else:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port_free(port: int, option: str = "--port") -> None:
    """Make sure that nobody listens on a loopback port.

    Raises:
        TargetError: it is taken, or may not be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            free = ", or leave it out to take any free one" if option == "--port" else ""
            raise TargetError(
                f"port {port} cannot be used: {err.strerror}. Choose another with {option}{free}"
            ) from err


def check_ports(ports: Mapping[str, int | None]) -> None:
    """Make sure that every port of this machine that was named can be listened on.

    Args:
        ports: By option; None: not asked for.

    Raises:
        TargetError: One is taken, may not be used, or is named twice.
    """
    named: dict[int, str] = {}
    for option, port in ports.items():
        if port is None:
            continue
        if port in named:
            raise TargetError(f"{named[port]} and {option} name the same port, {port}")
        named[port] = option
        check_port_free(port, option)
