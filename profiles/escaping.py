"""Words that come from outside, made fit to be shown. Pure.

A server's error text, a peer's name, a file's title may hold bytes that a terminal obeys: colours,
a new title, a cleared screen, the reversed direction of Unicode's bidi controls. Whatever is no
printable letter (`str.isprintable`: none of the categories C and Z but the space) is spelled out.
"""


def printable(text: str, most: int | None = None) -> str:
    r"""The text as one line without control characters: blanks for white space, else `\x1b`.

    Args:
        text: Anything, lone surrogates included.
        most: Characters that are kept; what is cut is marked with an ellipsis.
    """
    line = text if text.isprintable() else "".join(map(_spelled, text))
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def printable_lines(text: str) -> str:
    """The same of a text whose own line ends are kept."""
    return "\n".join(map(printable, text.split("\n")))


def _spelled(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")
