"""In which encoding lines are read that somebody has printed: checked by who wants them, and again by the node that reads them.

A node cuts bytes into lines before it decodes them. So an encoding will do if a line ends in it with the byte that it ends with
in ASCII: Latin-1, CP1252, GB18030 or Shift JIS, but not UTF-16.
"""

from __future__ import annotations

PLAIN = "utf-8"
HOW = ("replace", "strict", "ignore", "backslashreplace")
"""What may be done about bytes that mean nothing."""


def check(encoding: str, errors: str) -> None:
    """See whether lines can be read so.

    Raises:
        ValueError: they cannot.

    Example:
        >>> check("utf-16", "strict")
        Traceback (most recent call last):
        ValueError: 'utf-16' cannot be read line by line
    """
    if errors not in HOW:
        raise ValueError(f"errors of an encoding are {', '.join(HOW)}, not {errors!r}")
    try:
        lines = "a\n".encode(encoding) == b"a\n" and b"a\n".decode(encoding) == "a\n"
    except (LookupError, UnicodeError):
        raise ValueError(f"there is no encoding of text called {encoding!r}") from None
    if not lines:
        raise ValueError(f"{encoding!r} cannot be read line by line")
