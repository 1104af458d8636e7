"""A flame graph as a picture: one SVG file, which any browser shows, without scripts.

Each frame is a box over the one that has called it, as wide as it was seen often. The full text of a frame is shown when the
pointer rests on it.
"""

from __future__ import annotations

import os
from typing import Any
from xml.sax.saxutils import escape

WIDTH = 1200
ROW = 17
TOP = 34
LETTER = 6.6
"""About as wide is a letter."""
WIDTH_MIN = 0.5
"""A box that is narrower is left out."""

Frame = dict[str, Any]


def picture(root: Frame, title: str) -> str:
    """The SVG of a tree of `dashboard.flames.flame`."""
    boxes: list[tuple[Frame, float, int]] = []
    todo = [(root, 0.0, 0)]
    scale = WIDTH / max(1, root["count"])
    while todo:
        frame, left, depth = todo.pop()
        boxes.append((frame, left, depth))
        for child in frame["children"]:
            if child["count"] * scale >= WIDTH_MIN:
                todo.append((child, left, depth + 1))
            left += child["count"] * scale
    height = TOP + ROW * (1 + max(depth for *_, depth in boxes))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="monospace" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fdfdfb"/><text x="6" y="21" font-size="14">{escape(title)}</text>',
    ]
    lines += [_box(frame, left, height - ROW * (depth + 1), scale, root["count"]) for frame, left, depth in boxes]
    return "\n".join([*lines, "</svg>\n"])


def _box(frame: Frame, left: float, top: int, scale: float, total: int) -> str:
    width = frame["count"] * scale
    name = frame["name"]
    share = 100 * frame["count"] / max(1, total)
    room = int((width - 6) / LETTER)
    short = _short(name)
    shown = short if len(short) <= room else short[: room - 1] + "…" if room >= 3 else ""
    return (
        f"<g><title>{escape(name)}: {frame['count']} of {total}, {share:.1f} %</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}" fill="{_colour(name)}" rx="1"/>'
        f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(shown)}</text></g>'
    )


def _short(name: str) -> str:
    """The frame without the folder of its file."""
    function, found, place = name.partition(" (")
    return f"{function} ({os.path.basename(place)}" if found else name


def _colour(name: str) -> str:
    """The same for the same function, in each picture."""
    value = sum((at + 1) * ord(letter) for at, letter in enumerate(name.partition(" (")[0]))
    return f"hsl({15 + value % 40},{70 + value % 23}%,{62 + value % 13}%)"
