"""The table of `skate top`: as many rows as there are, of which only those on the screen are written.

Textual's own table makes a text of each cell and measures it, whenever there is something new: of 500 tasks, each second, that
took 130 ms, and of 10,000 the screen did not come back. Here a row becomes text when it is to be seen: 1 ms, and 3 ms. So columns
become as wide as what has been seen of them, and never narrower, or they would jump while one scrolls.

INV-1: the cursor is on a row, or at 0 when there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .top_source import Row
from .top_views import Column

GAP = 2
"""Cells between columns, half of them on each side."""


class Table(ScrollView, can_focus=True):
    """Rows below titles, one of them under the cursor."""

    COMPONENT_CLASSES = {"table--titles", "table--row", "table--odd", "table--cursor"}
    DEFAULT_CSS = """
    Table { background: $surface; color: $foreground; }
    Table > .table--titles { background: $panel; color: $foreground; text-style: bold; }
    Table > .table--row { background: $surface; color: $foreground; }
    Table > .table--odd { background: $surface-lighten-1; color: $foreground; }
    Table > .table--cursor { background: $primary; color: $text; }
    """
    BINDINGS = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "to(0)", show=False),
        Binding("end", "to(-1)", show=False),
        Binding("enter", "select", show=False),
    ]

    class Selected(Message):
        """Enter, or a click on the row under the cursor."""

    class Titled(Message):
        """A click at the title of a column."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Ended(Message):
        """The last row can be seen."""

    def __init__(self, colour: Callable[[str], str], ident: str) -> None:
        """`colour`: of a text in a cell; "": as the rest."""
        super().__init__(id=ident)
        self.cursor_row = 0
        self._columns: Sequence[Column] = ()
        self._titles: list[str] = []
        self._rows: Sequence[Row] = ()
        self._widths: list[int] = []
        self._colour = colour
        self._cells: dict[int, list[str]] = {}
        """Of rows that have been seen since they came."""

    # ------------------------------------------------------------ what is in it

    def show(self, columns: Sequence[Column], titles: list[str], rows: Sequence[Row], cursor: int) -> None:
        """Other rows, perhaps of other columns. What is scrolled to stays, as long as the columns do."""
        if columns is not self._columns:
            self._columns, self._widths = columns, [0] * len(columns)
            self.scroll_to(0, 0, animate=False, immediate=True)  # else it would undo what keys do meanwhile
        self._titles, self._rows = titles, rows
        self._cells.clear()
        self.cursor_row = max(0, min(cursor, len(rows) - 1))
        self._widths = [max(pair) for pair in zip(self._widths, map(cell_len, titles), strict=True)]
        self._fit()
        self.refresh()

    def column(self, key: str) -> list[str]:
        """What stands in a column, from the first row to the last."""
        column = next(each for each in self._columns if each.key == key)
        return [column.cell(row) for row in self._rows]

    def seen(self) -> range:
        """The rows on the screen."""
        first = self.scroll_offset.y
        return range(min(first, len(self._rows)), min(first + max(0, self.size.height - 1), len(self._rows)))

    def _texts(self, at: int) -> list[str]:
        cells = self._cells.get(at)
        if cells is None:
            row = self._rows[at]
            cells = self._cells[at] = [column.cell(row) for column in self._columns]
        return cells

    def _fit(self) -> None:
        """Make columns wide enough for what can be seen."""
        for at in self.seen():
            widths = map(cell_len, self._texts(at))
            self._widths = [max(pair) for pair in zip(self._widths, widths, strict=True)]
        self.virtual_size = Size(sum(self._widths) + GAP * len(self._widths), len(self._rows) + 1)
        if self._rows and self.seen() and self.seen()[-1] == len(self._rows) - 1:
            self.post_message(self.Ended())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are seen."""
        super().watch_scroll_y(old_value, new_value)
        self._fit()

    def watch_virtual_size(self) -> None:
        """Wider or longer than the screen: Textual looks at that only when the screen changes."""
        self._refresh_scrollbars()

    def on_resize(self) -> None:
        """More rows may be seen."""
        self._fit()

    # ------------------------------------------------------------ how it looks

    def render_line(self, y: int) -> Strip:
        """One line: the titles, a row, or nothing."""
        at = self.scroll_offset.y + y - 1
        if y == 0:
            return self._line(self._titles, "table--titles")
        if at >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        name = "table--cursor" if at == self.cursor_row else "table--odd" if at % 2 else "table--row"
        return self._line(self._texts(at), name)

    def _line(self, texts: list[str], name: str) -> Strip:
        style = self.get_component_rich_style(name)
        segments = []
        for text, width, column in zip(texts, self._widths, self._columns, strict=True):
            colour = self._colour(text) if name in ("table--row", "table--odd") else ""
            padded = set_cell_size(" " * max(0, width - cell_len(text)) + text if column.numeric else text, width)
            segments.append(Segment(f" {padded} ", style + Style.parse(colour) if colour else style))
        left = self.scroll_offset.x
        return Strip(segments).crop_extend(left, left + self.size.width, style)

    # ------------------------------------------------------------ keys and clicks

    def _go(self, at: int) -> None:
        """The cursor goes to a row, which is to be seen."""
        if not self._rows:
            return
        self.cursor_row = max(0, min(at, len(self._rows) - 1))
        first, height = self.scroll_offset.y, max(1, self.size.height - 1)
        first = min(max(first, self.cursor_row - height + 1), self.cursor_row)
        self.scroll_to(y=first, animate=False, immediate=True)
        self.refresh()

    def action_move(self, step: int) -> None:
        """To another row."""
        self._go(self.cursor_row + step)

    def action_page(self, step: int) -> None:
        """To the row a screen further."""
        self._go(self.cursor_row + step * max(1, self.size.height - 2))

    def action_to(self, at: int) -> None:
        """To the first row, or the last."""
        self._go(at % len(self._rows) if self._rows else 0)

    def action_select(self) -> None:
        """More about the row."""
        self.post_message(self.Selected())

    def on_click(self, event: events.Click) -> None:
        """A row, or a title."""
        if event.y == 0:
            left = -self.scroll_offset.x
            for column, width in zip(self._columns, self._widths, strict=True):
                left += width + GAP
                if event.x < left:
                    self.post_message(self.Titled(column.key))
                    return
            return
        at = self.scroll_offset.y + event.y - 1
        if at >= len(self._rows):
            return
        if at == self.cursor_row:
            self.post_message(self.Selected())
        else:
            self._go(at)
