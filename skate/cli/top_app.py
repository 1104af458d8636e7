"""The screen of `skate top`.

It shows what `top_poller.py` has seen, keeps that while the cluster does not answer, and says how old it is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Footer, Input, Static, Tab, Tabs

from .top_pane import Output, Question, Words
from .top_poller import Poller
from .top_source import ROWS_FIRST, ROWS_MAX, Row, Snapshot, Source, Wish
from .top_table import Table
from .top_views import VIEWS, View, headlines, news

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
        self._drawn = self.view
        """The view that the table has rows of."""
        self.limits = dict.fromkeys(VIEWS, ROWS_FIRST)
        """By view: how many rows are asked for."""
        self.head = Static("asking the cluster ...", id="head", markup=False)
        self.tabs = Tabs(*(Tab(f"{at} {name}", id=name) for at, name in enumerate(VIEWS, 1)), active=view)
        self.table = Table(lambda text: COLOURS.get(text, ""), "rows")
        self.news = Static(id="news", markup=False)
        self.words = Input(
            placeholder="words that rows have to contain, and conditions such as state=FAILED",
            id="filter",
            select_on_focus=False,
        )
        self._options = [] if source.address is None else ["--address", source.address]
        self._options += [] if temp_dir is None else ["--temp-dir", temp_dir]
        self.poller = Poller(source, interval, lambda: self.post_message(Seen()), self._prepare)

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield from (self.head, self.tabs, self.table, self.news, self.words)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self.tabs.can_focus = False
        self.table.focus()
        self.look()
        self.poller.thread.start()

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        self.poller.end()

    # ------------------------------------------------------------ what is asked

    def wish(self) -> Wish:
        """What is wanted now."""
        name = self.view.name
        return Wish(name, self.limits[name], tuple(self.view.wish(self.wanted)[1]))

    def look(self, whole: bool = False) -> None:
        """Ask for it, at once; `whole`: for more rows than at first, from now on."""
        if whole:
            self.limits[self.view.name] = ROWS_MAX
        self.poller.look(self.wish())

    def _need_all(self) -> None:
        """What is to be done is to be done with all rows."""
        found = self.found
        if found is not None and found.total != len(found.rows) and self.limits[self.view.name] < ROWS_MAX:
            self.look(whole=True)

    def on_table_ended(self) -> None:
        """The last row is seen: there may be more."""
        self._need_all()

    # ------------------------------------------------------------ what is shown

    def on_seen(self) -> None:
        """The cluster has answered, or has not."""
        found = self.poller.take()
        if found is None or found.wish != self.wish():
            return
        if found.error and self.found is not None:
            old = time.time() - self.found.at
            self._say([f"the cluster does not answer, this is {old:.0f} s old: {found.error}"])
        elif found.error:
            self._say([f"the cluster does not answer: {found.error}"])
        elif not self.paused:
            self.found = found
            self._draw()

    def _prepare(self, found: Snapshot) -> None:
        """In the thread that asks: of 10,000 rows it takes a tenth of a second."""
        if self.wanted or self.words.display:
            found.texts = VIEWS[found.view].texts(found.rows)

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
        if self.wanted and found.texts is None:
            found.texts = self.view.texts(found.rows)
        rows = self.view.arranged(found.rows, by, backwards, self.wanted, found.texts)
        notes = [f"{len(rows):,} rows with {self.wanted!r}: Esc shows all"] if self.wanted else []
        if found.total != len(found.rows):
            notes.append(self._cut(found))
        self._say((["paused: p goes on"] if self.paused else []) + notes + news(found))
        with self.batch_update():
            self._fill(rows)

    def _cut(self, found: Snapshot) -> str:
        """That there are more, and how to see them."""
        name = self.view.name
        many = f"{len(found.rows):,} {name} of {f'{found.total:,}' if found.total >= 0 else 'more'}"
        if found.wish.limit < ROWS_MAX:
            return f"{many}: End shows the next"
        return f"{many}: conditions in the filter, such as state=FAILED, look among all"

    def _fill(self, rows: list[Row]) -> None:
        """Put rows in the table; the cursor stays on the thing that it was on."""
        view = self.view
        by, backwards = self.order[view.name]
        marks = {by: "▲" if backwards else "▼"}
        titles = [f"{each.title} {marks.get(each.key, '')}".rstrip() for each in view.columns]
        chosen = self.chosen() if self._drawn is view else None
        at = self.table.cursor_row if self._drawn is view else 0
        self._drawn, self.shown = view, rows
        if chosen is not None:
            key = view.key(chosen)
            if at >= len(rows) or view.key(rows[at]) != key:
                at = next((at for at, row in enumerate(rows) if view.key(row) == key), at)
        self.table.show(view.columns, titles, rows, at)

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
            self.look()

    def action_sort(self, step: int) -> None:
        """Sort by the column to the left or right."""
        keys = ["", *(column.key for column in self.view.columns)]
        by, _ = self.order[self.view.name]
        self._sort(keys[(keys.index(by) + step) % len(keys)], False)

    def _sort(self, by: str, backwards: bool) -> None:
        self.order[self.view.name] = by, backwards
        self._draw()
        self._need_all()

    def on_table_titled(self, event: Table.Titled) -> None:
        """Sort by the column that was clicked at; again, the other way round."""
        by, backwards = self.order[self.view.name]
        self._sort(event.key, by == event.key and not backwards)

    def action_turn(self) -> None:
        """Sort the other way round."""
        by, backwards = self.order[self.view.name]
        self._sort(by, not backwards)

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
        self.look()  # with texts that can be searched

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what it finds while it is typed."""
        self._want(event.value.strip())

    def _want(self, wanted: str) -> None:
        before = self.wish()
        self.wanted = wanted
        if self.wish() != before:
            self.look()
        self._need_all()
        self._draw()

    def on_input_submitted(self) -> None:
        """Back to the table."""
        self.words.display = False
        self.table.focus()

    def action_unfilter(self) -> None:
        """Show all rows."""
        self.words.value = ""
        self.on_input_submitted()
        self._want("")

    # ------------------------------------------------------------ more about a row

    def on_table_selected(self) -> None:
        """Enter, or a second click: the table takes the key."""
        self.action_ask("get")

    def action_ask(self, action: str) -> None:
        """Open what another command of skate says about the row."""
        row = self.chosen()
        if row is None:
            return
        if self.view.name == "functions" and action == "get":
            name = str(row["name"])
            self.wanted = name if " " in name else f"name={name}"
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
            self.look()
