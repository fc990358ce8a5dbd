"""Error texts that differ in ids and numbers alone, counted as one. Pure.

A message often carries a request's own id, a time or a queue's length, so that ten thousand of one
cause are ten thousand texts. Those that are the same but for such words are a group; where all of
a group are the same text, that text is what is shown, numbers and all. The status stays.
"""

import re
from collections import Counter

OTHER_ERRORS = "(other errors)"
VARIES = "…"
LONG = 20  # letters in a row that no message has as a word

_STATUS = re.compile(r"^(?:this machine: )?(?:HTTP [1-5][0-9]{2}\b)?")
_VARYING = re.compile(
    r"[\w+/=.:@-]*[0-9][\w+/=.:@-]*"  # numbers, ids, addresses, sizes, times
    rf"|[A-Za-z_-]{{{LONG},}}"
)


def cause(text: str) -> str:
    """The text with an ellipsis for each word that may differ from one request to the next."""
    status = _STATUS.match(text)
    start = status[0] if status else ""
    return start + _VARYING.sub(VARIES, text[len(start) :])


class ErrorGroups:
    """Counts error texts by what they have in common; at most `most` groups, and the rest as one.

    Args:
        most: Groups; bounds the memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, str] = {}  # cause -> what all of the group say so far

    def add(self, text: str) -> None:
        """Count one."""
        group = cause(text)
        if group not in self._counts and len(self._counts) >= self._most:
            group = text = OTHER_ERRORS
        self._counts[group] += 1
        if self._texts.setdefault(group, text) != text:
            self._texts[group] = group

    def counts(self) -> Counter[str]:
        """Times by text."""
        return Counter({self._texts[group]: times for group, times in self._counts.items()})


def most_frequent(errors: Counter[str], most: int) -> dict[str, int]:
    """The most frequent texts, and one more row that says how many others there are."""
    shown = dict(errors.most_common(most))
    left = {text: times for text, times in errors.items() if text not in shown}
    if left:
        kinds = f"{len(left):,} more kind{'s' if len(left) > 1 else ''} of error"
        shown[f"(and {kinds})"] = sum(left.values())
    return shown
