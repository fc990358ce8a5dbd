"""What a trace's columns mean, by their names. Pure.

A name is compared as words (`NumImages`, "num images" and `num_images` are one). Three kinds
matter: what is known (the time, what a row asked for), what counts requests (a count, or a rate in
some unit), and what describes one request (tokens, model, status), which no bin has.
"""

from collections.abc import Sequence

from loadtest.traces.column_names import UNITS, normal, tokens

KNOWN = {
    "time": (
        "t_s", "time_s", "timestamp_s", "t", "time", "timestamp", "ts", "timestamp_anon",
        "arrival_time", "arrived_at", "request_time", "start_time", "created_at", "gmt_create",
        "date_time", "datetime", "date", "event_time", "submit_time", "window_start", "bin_start",
        "bucket", "window", "second", "minute", "hour", "day", "epoch", "unix", "unix_time",
        "elapsed", "start", "arrival", "created",
    ),
    "rate": (
        "rate_per_s", "rate", "rps", "qps", "requests_per_s", "images_per_s", "request_rate",
        "arrival_rate", "tps", "rpm", "qpm",
    ),
    "count": ("count", "requests", "events", "arrivals", "n"),
    "steps": ("steps", "num_steps", "num_inference_steps", "inference_steps"),
    "images": ("images", "num_images", "n_images", "num_images_per_prompt", "images_per_prompt"),
    "size": ("size", "image_size", "resolution"),
    "prompt_chars": ("prompt_chars", "prompt_length", "prompt_len"),
    "user": ("user", "user_id", "userid", "group_id", "client_id", "customer_id"),
}  # fmt: skip
PER_S = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0,
         "hour": 3600.0, "day": 86400.0}  # fmt: skip
PER_MINUTE = ("rpm", "qpm")
# many of them: a column of this name counts
COUNTED = {
    "requests", "reqs", "events", "arrivals", "hits", "calls", "queries", "invocations", "visits",
    "visitors", "views", "pageviews", "jobs", "users", "sessions", "people", "customers", "clients",
    "orders", "transactions", "messages", "prompts",
}  # fmt: skip
COUNTED_ONE = {
    "request", "req", "event", "arrival", "hit", "call", "query", "invocation", "visit", "visitor",
    "view", "job", "user", "session", "image", "prompt", "row", "record",
}  # fmt: skip
COUNT = {"count", "counts", "cnt", "num", "number", "total"}
COUNT_WORDS = {*COUNT, "n", "nr", "no", "sum", "of", "the", "http", "in"}
VAGUE = {
    "value", "values", "val", "y", "total", "sum", "amount", "load", "volume", "traffic", "qty",
    "quantity",
}  # fmt: skip
DESCRIBES = {
    "token", "tokens", "length", "len", "chars", "size", "prompt", "prompts", "model", "user",
    "session", "id", "ids", "uuid", "ip", "status", "path", "url", "method", "code", "duration",
    "latency", "elapsed", "time", "type", "task", "seed", "lora", "width", "height", "hash", "name",
    "version", "text", "host", "pod", "node", "container", "region", "agent", "log", "turn", "chat",
    "category", "priority", "bytes", "steps", "step", "negative", "guidance", "scale", "sampler",
    "strength",
}  # fmt: skip
BINNED = {"minute", "hour", "day", "bucket", "window", "window_start", "bin_start", "bin"}


def time_column(names: Sequence[str]) -> str | None:
    """The column that is the time, by its name: the first known one, whatever unit it ends in."""
    for known in KNOWN["time"]:
        for name in names:
            if normal(name) == known:
                return name
    for name in names:
        words = tokens(name)
        if len(words) > 1 and words[-1] in UNITS:
            if "_".join(words[:-1]) in KNOWN["time"]:
                return name
        elif len(words) == 1 and words[0] in UNITS:
            return name
    return None


def known_column(names: Sequence[str], kind: str) -> str | None:
    """The column of that kind by its name, the best known first."""
    for known in KNOWN[kind]:
        for name in names:
            if normal(name) == known:
                return name
    return None


def rate_unit_s(name: str) -> float | None:
    """Seconds in the unit of a rate, by the column's name; None: it names no rate.

    1 for "rps" and "rate", 60 for "requests_per_minute".
    """
    words = tokens(name)
    if normal(name) in PER_MINUTE:
        return 60.0
    if normal(name) in KNOWN["rate"]:
        return 1.0
    unit = PER_S.get(words[-1]) if words else None
    if unit is None or len(words) < 2:
        return None
    what = [word for word in words[:-1] if word not in ("per", "rate")]
    is_rate = len(what) < len(words) - 1 or "/" in name
    counted = COUNTED | COUNTED_ONE | {"images"}
    return unit if is_rate and all(word in counted for word in what) else None


def counts(name: str) -> bool:
    """Whether a column of this name counts requests: "requests", "num_calls", "request_count"."""
    if normal(name) in KNOWN["count"]:
        return True
    words = set(tokens(name))
    many, one = words & COUNTED, words & COUNTED_ONE
    rest = words - many - one - COUNT_WORDS
    if rest or not (many or one):
        return False
    return bool(many) or bool(words & COUNT)


def is_vague(name: str) -> bool:
    """Whether the name says that there is a figure and not of what: "value", "total"."""
    words = set(tokens(name))
    return bool(words & VAGUE) and not words & DESCRIBES


def describes_request(name: str) -> bool:
    """Whether a column of this name tells something of one request, so that a row is one."""
    return bool(set(tokens(name)) & DESCRIBES)


def is_bin_time(name: str) -> bool:
    """Whether a time column of this name tells where bins begin."""
    return normal(name) in BINNED


def published_unit(names: Sequence[str], is_whole: bool) -> str | None:
    """The unit of `timestamp` where the columns are a published format's; None: of no known one.

    Mooncake's traces (FAST'25) tell whole milliseconds; those of the same form with decimals
    (Qwen-Bailian) tell seconds. BurstGPT tells seconds.
    """
    known = {normal(name) for name in names}
    if {"timestamp", "input_length"} <= known:
        return "ms" if is_whole else "s"
    if {"timestamp", "request_tokens", "response_tokens"} <= known:
        return "s"
    return None


def of_the_input(names: Sequence[str]) -> frozenset[str]:
    """Columns that tell what a request brought along, not what it asked for.

    Azure's traces of multimodal models (2025): NumImages are in the prompt.
    """
    known = {normal(name): name for name in names}
    if {"num_images", "context_tokens"} <= known.keys():
        return frozenset({known["num_images"]})
    return frozenset()
