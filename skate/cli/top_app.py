"""The screen of `skate top`.

It shows what `top_poller.py` has seen, keeps that while the cluster does not answer, and says how old it is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import DataTable, Footer, Input, Static, Tab, Tabs

from .top_pane import Output, Question, Words
from .top_poller import Poller
from .top_source import Row, Snapshot, Source
from .top_views import VIEWS, Column, View, headlines, news

NEWS_MAX = 3
"""So many lines say what waits and what is not known."""
COLOURS = {
    "alive": "green",
    "ALIVE": "green",
    "RUNNING": "green",
    "draining": "yellow",
    "away": "yellow",
    "RESTARTING": "yellow",
    "PENDING_CREATION": "yellow",
    "WARNING": "yellow",
    "dead": "red",
    "DEAD": "red",
    "FAILED": "red",
    "ERROR": "red",
}
STYLES = """
#head { height: auto; padding: 0 1; }
#news { height: auto; padding: 0 1; color: $text-warning; }
#title { height: auto; padding: 0 1; background: $primary; color: $text; }
#words { height: 1fr; padding: 1; }
#filter { display: none; height: 3; }
#rows { height: 1fr; }
Output, Words { background: $background; }
Question { align: center middle; }
#question { width: 90%; max-width: 90; height: auto; padding: 1 2; border: heavy $error; background: $surface; }
"""


class Seen(Message):
    """There is a new snapshot."""


class Top(App[None]):
    """`skate top`."""

    CSS = STYLES
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [
        *(Binding(str(at), f"view('{name}')", name, show=False) for at, name in enumerate(VIEWS, 1)),
        Binding("enter", "ask('get')", "All", show=True),
        Binding("w", "ask('why')", "Why"),
        Binding("s", "ask('stack')", "Stack"),
        Binding("l", "ask('logs')", "Logs"),
        Binding("k", "kill", "Kill"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("less_than_sign,comma", "sort(-1)", "Sort", show=False),
        Binding("greater_than_sign,full_stop", "sort(1)", "Sort", key_display="< >"),
        Binding("r", "turn", "Reverse"),
        Binding("p", "pause", "Pause"),
        Binding("escape", "unfilter", "No filter", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, source: Source, view: str, interval: float, temp_dir: str | None = None) -> None:
        super().__init__()
        self.source = source
        self.view: View = VIEWS[view]
        self.found: Snapshot | None = None
        """What is shown."""
        self.paused = False
        self.wanted = ""
        """What rows have to contain."""
        self.order = {name: (each.sort, False) for name, each in VIEWS.items()}
        """By view: the column by which it is sorted, and whether the other way round."""
        self.shown: list[Row] = []
        self._drawn: tuple[View, list[str], list[list[str]]] = (self.view, [], [])
        """The view, the titles and the cells that the table has."""
        self.head = Static("asking the cluster ...", id="head", markup=False)
        self.tabs = Tabs(*(Tab(f"{at} {name}", id=name) for at, name in enumerate(VIEWS, 1)), active=view)
        self.table = DataTable[Text](id="rows", cursor_type="row", zebra_stripes=True)
        self.news = Static(id="news", markup=False)
        self.words = Input(placeholder="words that rows have to contain", id="filter", select_on_focus=False)
        self._options = [] if source.address is None else ["--address", source.address]
        self._options += [] if temp_dir is None else ["--temp-dir", temp_dir]
        self.poller = Poller(source, interval, lambda: self.post_message(Seen()))

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield from (self.head, self.tabs, self.table, self.news, self.words)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self.tabs.can_focus = False
        self.table.focus()
        self.poller.look(self.view.name)
        self.poller.thread.start()

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        self.poller.end()

    # ------------------------------------------------------------ what is shown

    def on_seen(self) -> None:
        """The cluster has answered, or has not."""
        found = self.poller.take()
        if found is None or found.view != self.view.name:
            return
        if found.error and self.found is not None:
            old = time.time() - self.found.at
            self._say([f"the cluster does not answer, this is {old:.0f} s old: {found.error}"])
        elif found.error:
            self._say([f"the cluster does not answer: {found.error}"])
        elif not self.paused:
            self.found = found
            self._draw()

    def _say(self, lines: list[str]) -> None:
        more = [f"and {len(lines) - NEWS_MAX + 1} more lines like these"] if len(lines) > NEWS_MAX else []
        lines = lines[: NEWS_MAX - 1] + more if more else lines
        self.news.update("\n".join(lines))
        self.news.display = bool(lines)

    def _draw(self) -> None:
        found = self.found
        if found is None:
            return
        by, backwards = self.order[self.view.name]
        self.head.update("\n".join(headlines(found)))
        rows = self.view.arranged(found.rows if found.view == self.view.name else [], by, backwards, self.wanted)
        notes = [f"only rows with {self.wanted!r}: Esc shows all"] if self.wanted else []
        if found.total != len(found.rows):
            notes.append(f"{len(found.rows)} {self.view.name} of {found.total if found.total >= 0 else 'more'}")
        self._say((["paused: p goes on"] if self.paused else []) + notes + news(found))
        with self.batch_update():
            self._fill(rows)

    def _fill(self, rows: list[Row]) -> None:
        """Put rows in the table; the cursor stays on the thing that it was on."""
        view, columns = self.view, self.view.columns
        by, backwards = self.order[view.name]
        marks = {by: "▲" if backwards else "▼"}
        titles = [f"{each.title} {marks.get(each.key, '')}".rstrip() for each in columns]
        cells = [[column.cell(row) for column in columns] for row in rows]
        before, titles_before, cells_before = self._drawn
        chosen = self.chosen() if before is view else None
        self._drawn, self.shown = (view, titles, cells), rows
        if (before, titles_before) != (view, titles):
            self.table.clear(columns=True)
            for column, title in zip(columns, titles, strict=True):
                self.table.add_column(self._text(title, column), key=column.key)
        elif cells == cells_before:
            return
        at, place = self.table.cursor_row, self.table.scroll_offset
        self.table.clear()
        self.table.add_rows(map(self._text, line, columns) for line in cells)
        if before is view:
            keys = [view.key(row) for row in rows]
            at = keys.index(view.key(chosen)) if chosen is not None and view.key(chosen) in keys else at
            self.table.move_cursor(row=max(0, min(at, len(rows) - 1)), scroll=False)
            self.table.scroll_to(*place, animate=False)

    @staticmethod
    def _text(value: str, column: Column) -> Text:
        return Text(value, style=COLOURS.get(value, ""), justify="right" if column.numeric else "left")

    def chosen(self) -> Row | None:
        """The row under the cursor."""
        at = self.table.cursor_row
        return self.shown[at] if 0 <= at < len(self.shown) else None

    # ------------------------------------------------------------ views, order, filter

    def action_view(self, name: str) -> None:
        """Show another view."""
        self.tabs.active = name

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Another view was chosen, by key or by mouse."""
        name = event.tab.id or ""
        if name != self.view.name:
            self.view, self.found = VIEWS[name], None
            self._fill([])
            self.poller.look(name)

    def action_sort(self, step: int) -> None:
        """Sort by the column to the left or right."""
        keys = ["", *(column.key for column in self.view.columns)]
        by, _ = self.order[self.view.name]
        self.order[self.view.name] = keys[(keys.index(by) + step) % len(keys)], False
        self._draw()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column that was clicked at; again, the other way round."""
        key = str(event.column_key.value)
        by, backwards = self.order[self.view.name]
        self.order[self.view.name] = key, by == key and not backwards
        self._draw()

    def action_turn(self) -> None:
        """Sort the other way round."""
        by, backwards = self.order[self.view.name]
        self.order[self.view.name] = by, not backwards
        self._draw()

    def action_pause(self) -> None:
        """Let what is shown stand still, or go on."""
        self.paused = not self.paused
        self._draw()

    def action_filter(self) -> None:
        """Ask what rows have to contain."""
        self.words.display = True
        self.words.value = self.wanted
        self.words.focus()
        self.words.action_select_all()  # here, not when the focus arrives: a key that was quicker would be replaced

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what it finds while it is typed."""
        self.wanted = event.value.strip()
        self._draw()

    def on_input_submitted(self) -> None:
        """Back to the table."""
        self.words.display = False
        self.table.focus()

    def action_unfilter(self) -> None:
        """Show all rows."""
        self.words.value = ""
        self.wanted = ""
        self.on_input_submitted()
        self._draw()

    # ------------------------------------------------------------ more about a row

    def on_data_table_row_selected(self) -> None:
        """Enter, or a second click: the table takes the key."""
        self.action_ask("get")

    def action_ask(self, action: str) -> None:
        """Open what another command of skate says about the row."""
        row = self.chosen()
        if row is None:
            return
        if self.view.name == "functions" and action == "get":
            self.wanted = str(row["name"])
            self.action_view("tasks")
        elif self.view.name == "events" and action == "get":
            self.push_screen(Words(f"{row['severity']} {row['source']}", str(row["text"])))
        elif words := self.view.command(action, row):
            self.push_screen(Output(words, self._options))
        else:
            self.notify(f"there is no `{action}` of what this row is about", severity="warning", markup=False)

    @work
    async def action_kill(self) -> None:
        """Kill what the row is about, after a yes."""
        row, view = self.chosen(), self.view
        if row is None:
            return
        if not view.killed:
            self.notify(f"{view.name} cannot be killed here: tasks, actors and workers can", severity="warning")
        elif await self.push_screen_wait(Question(view.question(row))):
            said: Any = await asyncio.to_thread(self.source.kill, view.name, row)
            self.notify(said, markup=False)
            self.poller.look(self.view.name)
