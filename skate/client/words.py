"""Words that messages share: how many of something there are, and what somebody has probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def several(count: int, name: str) -> str:
    """A number of things.

    Example:
        >>> several(1, "object"), several(2, "object")
        ('1 object', '2 objects')
    """
    return f"{count} {name}{'s' * (count != 1)}"


def choices(word: str, known: Iterable[str]) -> str:
    """What there is, to be put behind what is wrong, and what somebody has probably meant who has written another word.

    Example:
        >>> choices("FAILD", ["FAILED", "FINISHED"])
        ': did you mean FAILED? There are FAILED, FINISHED'
        >>> choices("x", ["FAILED", "FINISHED"])
        '; there are FAILED, FINISHED'
    """
    from difflib import get_close_matches  # rarely needed

    all_ = list(known)
    by_text = {each.casefold(): each for each in all_}
    near = get_close_matches(word.casefold(), by_text, 1)
    mark = f": did you mean {by_text[near[0]]}? There" if near else "; there"
    return f"{mark} are {', '.join(all_)}"
