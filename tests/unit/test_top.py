"""`skate top` over a cluster that is made up: what is shown, in which order, at which size, and when nobody answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from skate.cli import top_pane
from skate.cli.top import write
from skate.cli.top_app import Top
from skate.cli.top_source import ROWS_FIRST, ROWS_MAX, Row, Snapshot, Wish
from skate.cli.top_views import VIEWS, Column, headlines, lines
from skate.client.filters import meets

WAIT_S = 10.0
NODE = {
    "node_id": "aa" * 16,
    "node_no": 1,
    "name": "one",
    "state": "alive",
    "cpus": 4.0,
    "cpus_used": 3.0,
    "load": 0.5,
    "memory_used": 5_200_000_000,
    "memory": 24_000_000_000,
    "store_used": 12_000_000,
    "store": 300_000_000,
    "spilled": 0,
    "address": "10.0.0.5:6379",
    "workers": [],
}


def function(name: str, running: int, per_s: float | None, finished: int = 0) -> Row:
    return {"name": name, "running": running, "waiting": 2, "per_s": per_s, "finished": finished, "failed": 0}


def actor(number: int, state: str = "ALIVE") -> Row:
    return {
        "actor_id": f"{number:032x}",
        "class_name": "Counter",
        "name": f"c{number}",
        "state": state,
        "node_no": 1,
        "pid": 100 + number,
        "num_restarts": number,
        "job_id": "j",
        "death_cause": "",
    }


class Fake:
    """A `Source`."""

    address: str | None = "127.0.0.1:1"

    def __init__(self) -> None:
        self.error = ""
        self.missing: list[str] = []
        self.kills: list[tuple[str, Row]] = []
        self.polls = 0
        self.wishes: list[Wish] = []
        self.answers = threading.Event()
        self.answers.set()
        self.rows: dict[str, list[Row]] = {
            "nodes": [NODE],
            "functions": [function("quick", 0, 947.3, 3501), function("solve", 3, 0.0), function("new", 1, None)],
            "actors": [actor(number) for number in range(5)],
        }

    def poll(self, wish: Wish) -> Snapshot:
        assert self.answers.wait(WAIT_S)
        self.polls += 1
        self.wishes.append(wish)
        if self.error:
            return Snapshot(wish, error=self.error)
        rows = [row for row in self.rows.get(wish.view, []) if meets(row, wish.filters)]
        total = len(rows) if not wish.filters or len(rows) < wish.limit else -1
        status = {"head": "10.0.0.5:6379", "demand": [{"count": 2, "wants": "1 GPU", "reason": "no node has it"}]}
        nodes, functions = self.rows["nodes"], self.rows["functions"]
        return Snapshot(wish, 0.0, status, nodes, functions, rows[: wish.limit], total, self.missing)

    def kill(self, view: str, row: Row) -> str:
        self.kills.append((view, row))
        return "it was killed"


Play = Callable[[Top, Pilot[None]], Awaitable[None]]


def play(source: Fake, steps: Play, view: str = "nodes", size: tuple[int, int] = (120, 40)) -> Top:
    """Run the screen with a program of keys; afterwards nothing of it may run."""

    async def main() -> Top:
        app = Top(source, view, 0.1)
        try:
            async with app.run_test(size=size, notifications=True) as pilot:
                await steps(app, pilot)
        finally:
            source.answers.set()
        app.poller.thread.join(WAIT_S)
        assert not app.poller.thread.is_alive()
        return app

    return asyncio.run(main())


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it has not come"
        await pilot.pause(0.01)


def column(app: Top, key: str) -> list[str]:
    """What stands in a column of the table."""
    return app.table.column(key)


def words(static: Static) -> str:
    return str(static.content)


def screen(app: Top) -> list[str]:
    """The lines on the terminal."""
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


def test_the_same_as_text() -> None:
    found = Fake().poll(Wish("functions"))
    assert headlines(found) == [
        "cluster 10.0.0.5:6379 of 1 node   CPUs 3/4   memory 5.2 GB/24.0 GB   store 12.0 MB/300.0 MB",
        "tasks: 4 running, 6 waiting, 0 failed   947.3 per second",
    ]
    assert lines(found, VIEWS["functions"]) == [
        "name   running  waiting  per second  finished  failed",
        "solve        3        2           0         0       0",
        "new          1        2                     0       0",
        "quick        0        2       947.3     3,501       0",
    ]


def test_the_memory_of_a_machine_counts_once() -> None:
    found = Fake().poll(Wish("nodes"))
    (node,) = found.nodes
    host = node["address"].rpartition(":")[0]
    found.nodes += [{**node, "address": f"{host}:1"}, {**node, "address": "10.9.9.9:1"}]
    assert "of 3 nodes   CPUs 9/12   memory 10.4 GB/48.0 GB   store 36.0 MB/900.0 MB" in headlines(found)[0]


def test_once_looks_twice_and_says_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    source = Fake()
    source.missing = ["node 2 (two): it has not answered in 2 s"]
    write(source, ("nodes", "functions"), 0.0)
    out, err = capsys.readouterr()
    assert source.polls == 3 and "solve        3" in out and out.count("\nnodes\n") == 1
    assert err.splitlines() == [
        "waiting: 2 x (1 GPU): no node has it",
        "not known: node 2 (two): it has not answered in 2 s",
    ]


def test_once_says_how_many_more_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    source = Fake()
    source.rows["tasks"] = [task(number) for number in range(ROWS_FIRST + 7)]
    write(source, ("tasks",), 0.0)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == ROWS_FIRST + 5
    assert "500 tasks of 507: `skate list tasks --limit` shows others" in err


def test_views_by_number_and_rows_that_stay_under_the_cursor() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found and column(app, "name") == ["one"])
        assert "CPUs 3/4" in words(app.head) and "no node has it" in words(app.news)
        await pilot.press("4")
        await until(pilot, lambda: app.found and app.view.name == "actors" and len(app.shown) == 5)
        await pilot.press("down", "down")
        chosen = app.chosen()
        assert chosen is not None and chosen["name"] == "c2"
        source.rows["actors"] = [actor(9), *source.rows["actors"]]
        await until(pilot, lambda: len(app.shown) == 6)
        chosen = app.chosen()
        assert chosen is not None and chosen["name"] == "c2"
        source.rows["actors"] = []
        await until(pilot, lambda: app.shown == [])
        await pilot.press("enter", "w", "k")  # there is nothing that they could be about
        assert app.chosen() is None and app.screen is app.screen_stack[0]

    source = Fake()
    play(source, steps)


def test_sorting_by_keys_and_the_other_way_round() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        assert column(app, "name") == ["solve", "new", "quick"]
        await pilot.press("r")
        assert column(app, "name") == ["quick", "new", "solve"]
        await pilot.press(">", ">")
        assert column(app, "name") == ["quick", "solve", "new"]  # per second: what is not known comes last
        await pilot.press("r")
        assert column(app, "name") == ["solve", "quick", "new"]
        await pilot.press("<", "<", "<")
        assert column(app, "name") == ["new", "quick", "solve"]

    play(Fake(), steps, "functions")


def test_a_filter_is_applied_while_it_is_typed() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == 5)
        await pilot.press("slash", *"c3")
        await until(pilot, lambda: column(app, "name") == ["c3"])
        assert "1 rows with 'c3'" in words(app.news)
        await pilot.press("enter", "r")  # goes to the table again, not into the text
        assert app.words.value == "c3" and app.table.has_focus
        await pilot.press("escape")
        assert len(app.shown) == 5

    play(Fake(), steps, "actors")


def test_enter_at_a_function_shows_its_tasks() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        await pilot.press("enter")
        await until(pilot, lambda: app.view.name == "tasks" and app.found)
        assert app.wanted == "name=solve" and source.wishes[-1].filters == (("name", "=", "solve"),)

    source = Fake()
    play(source, steps, "functions")


def test_a_cluster_that_does_not_answer_is_said_and_it_goes_on() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        source.error = "the head has not answered in 2 s"
        await until(pilot, lambda: "does not answer, this is" in words(app.news))
        assert column(app, "name") == ["one"] and "the head has not answered in 2 s" in words(app.news)
        source.error = ""
        await until(pilot, lambda: "does not answer" not in words(app.news))

    source = Fake()
    play(source, steps)


def test_keys_answer_while_the_cluster_does_not() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        source.answers.clear()
        for key in ("4", "2", "slash", "x", "escape", "p", "p", "1"):
            await pilot.press(key)
        assert app.view.name == "nodes" and app.shown == []
        source.answers.set()
        await until(pilot, lambda: column(app, "name") == ["one"])
        source.answers.clear()
        begin = time.monotonic()
        await pilot.press("q")
        assert time.monotonic() - begin < WAIT_S / 2

    source = Fake()
    play(source, steps)


def test_paused_stands_still() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == 5)
        await pilot.press("p")
        source.rows["actors"] = []
        polls = source.polls
        await until(pilot, lambda: source.polls > polls + 2)
        assert len(app.shown) == 5 and words(app.news).startswith("paused")
        await pilot.press("p")
        await until(pilot, lambda: app.shown == [])

    source = Fake()
    play(source, steps, "actors")


def test_killing_asks_first() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == 5)
        await pilot.press("down", "k")
        await until(pilot, lambda: "Kill actor Counter c1" in "\n".join(screen(app)))
        await pilot.press("n")
        await pilot.press("k")
        await until(pilot, lambda: isinstance(app.screen, top_pane.Question))
        assert source.kills == []
        await pilot.press("y")
        await until(pilot, lambda: source.kills)
        assert [(view, row["name"]) for view, row in source.kills] == [("actors", "c1")]
        await until(pilot, lambda: "it was killed" in "\n".join(screen(app)))
        await pilot.press("1")
        await until(pilot, lambda: column(app, "node_no") == ["1"])
        await pilot.press("k")
        await until(pilot, lambda: "nodes cannot be killed here" in "\n".join(screen(app)))

    source = Fake()
    play(source, steps, "actors")
    assert len(source.kills) == 1


def test_an_event_is_shown_as_a_whole() -> None:
    text = "a worker has died: " + "and so on, " * 20 + "finally"

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.shown)
        assert "finally" not in column(app, "text")[0]
        await pilot.press("w")
        await until(pilot, lambda: "there is no `why`" in "\n".join(screen(app)))
        await pilot.press("enter")
        await until(pilot, lambda: "finally" in "\n".join(screen(app)))
        await pilot.press("q")
        await until(pilot, lambda: app.screen is app.screen_stack[0])

    source = Fake()
    event = {"id": 1, "node_no": 1, "time": 0.0, "severity": "ERROR", "source": "WORKER", "text": text}
    source.rows["events"] = [event]
    play(source, steps, "events")


def test_an_answer_that_makes_no_sense_is_shown_and_it_goes_on() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        nodes = source.rows.pop("nodes")
        await until(pilot, lambda: "KeyError: 'nodes'" in words(app.news))
        source.rows["nodes"] = nodes
        await until(pilot, lambda: "KeyError" not in words(app.news))

    source = Fake()
    play(source, steps, "actors")


def test_it_fits_on_a_small_terminal_also_when_that_shrinks() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: len(screen(app)) == 24)
        await pilot.pause()
        shown = screen(app)
        assert max(map(len, shown)) <= 80
        assert "CPUs 3/4" in shown[0] and any(line.startswith("    1  one   alive") for line in shown)
        assert " 1 nodes  2 functions  3 tasks  4 actors  5 workers  6 objects  7 events" in shown
        assert "q Quit" in shown[-1] and "k Kill" in shown[-1]

    play(Fake(), steps)


def test_what_is_asked_about_a_row_are_commands() -> None:
    task = {"task_id": "t" * 32, "node_no": 2, "worker_pid": 7}
    assert VIEWS["tasks"].command("why", task) == ["why", "t" * 32]
    assert VIEWS["tasks"].command("stack", task) == ["stack", "2:7"]
    assert VIEWS["tasks"].command("stack", {**task, "worker_pid": 0}) == []
    assert VIEWS["workers"].command("logs", {"node_no": 0, "pid": 7}) == ["logs", "--follow", "--worker", "7"]
    assert VIEWS["events"].command("why", {}) == []


TASKS = ROWS_MAX + 100


def task(number: int) -> Row:
    state = "FAILED" if number == TASKS - 1 else "RUNNING" if number < 3 else "FINISHED"
    return {
        "task_id": f"{number:032x}",
        "attempt_number": 0,
        "name": f"f{number % 7}",
        "state": state,
        "seconds": float(number),
        "node_no": 1,
        "worker_pid": 7,
        "error_message": "",
    }


def test_all_rows_can_be_scrolled_to_and_only_those_on_the_screen_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 tasks that change all the time."""
    written = 0
    cell = Column.cell

    def counted(self: Column, row: Row) -> str:
        nonlocal written
        written += 1
        return cell(self, row)

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == ROWS_FIRST)
        assert "500 tasks of 10,100: End shows the next" in words(app.news)
        assert source.wishes[-1].limit == ROWS_FIRST  # no more are asked for while nobody looks at them
        await pilot.press("end")
        await until(pilot, lambda: len(app.shown) == ROWS_MAX)
        assert "10,000 tasks of 10,100: conditions in the filter" in words(app.news)
        await pilot.press("end")
        await until(pilot, lambda: f"{ROWS_MAX - 1:032x}" in "\n".join(screen(app)))
        chosen = app.chosen()
        assert chosen is not None and chosen["seconds"] == ROWS_MAX - 1
        await pilot.press("pageup", "up")
        polls, before = source.polls, written
        await until(pilot, lambda: source.polls >= polls + 3)
        lines_seen = (source.polls - polls + 1) * 40  # on a screen of 40 lines
        assert 0 < written - before <= lines_seen * len(VIEWS["tasks"].columns)
        place = app.table.scroll_offset.y
        assert place > ROWS_MAX - 100 and app.table.cursor_row >= place
        await pilot.press("home", "pagedown", "down")
        await until(
            pilot, lambda: app.table.cursor_row > 30 and f"{app.table.cursor_row:032x}" in "\n".join(screen(app))
        )

    source = Fake()
    source.rows["tasks"] = [task(number) for number in range(TASKS)]
    poll = source.poll

    def changed(wish: Wish) -> Snapshot:
        found = poll(wish)
        found.rows = [{**row} for row in found.rows]
        found.total = TASKS
        return found

    monkeypatch.setattr(source, "poll", changed)
    monkeypatch.setattr(Column, "cell", counted)
    play(source, steps, "tasks")


def test_conditions_find_what_is_not_among_the_rows() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.found)
        await pilot.press("slash")
        app.words.value = "state=failed f"
        await until(pilot, lambda: column(app, "task_id") == [f"{TASKS - 1:032x}"])
        assert source.wishes[-1] == Wish("tasks", source.wishes[-1].limit, (("state", "=", "failed"),))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.shown) > 1 and source.wishes[-1].filters == ())

    source = Fake()
    source.rows["tasks"] = [task(number) for number in range(TASKS)]
    play(source, steps, "tasks")
    assert VIEWS["tasks"].wish("name!=f a=b X") == (["a=b", "x"], [("name", "!=", "f")])
    assert VIEWS["nodes"].wish("state=alive") == (["state=alive"], [])


def test_sorting_is_among_all_rows() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == ROWS_FIRST)
        await pilot.press(">", ">", ">")  # by time, the longest first
        await until(pilot, lambda: app.shown[0]["seconds"] == 1499)
        assert app.order["tasks"] == ("seconds", False)

    source = Fake()
    source.rows["tasks"] = [task(number) for number in range(1500)]
    play(source, steps, "tasks")


def test_a_click_chooses_a_row_and_a_title_sorts() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == 5)
        await pilot.click("#rows", offset=(3, 3))
        chosen = app.chosen()
        assert chosen is not None and chosen["name"] == "c2"
        await pilot.click("#rows", offset=(3, 3))
        await until(pilot, lambda: isinstance(app.screen, top_pane.Output))
        await pilot.press("escape")
        title = screen(app)[app.table.region.y]
        await pilot.click("#rows", offset=(title.index("restarts"), 0))
        await until(pilot, lambda: column(app, "name") == ["c4", "c3", "c2", "c1", "c0"])
        await pilot.click("#rows", offset=(title.index("restarts"), 0))
        await until(pilot, lambda: column(app, "name")[0] == "c0")
        await pilot.click("#rows", offset=(3, 20))  # below the rows
        assert app.chosen() is not None

    play(Fake(), steps, "actors")


def test_wide_rows_scroll_to_the_side() -> None:
    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(app.shown) == 5)
        assert "died" not in screen(app)[app.table.region.y]
        await pilot.press("right")
        await until(pilot, lambda: app.table.scroll_offset.x > 0)
        app.table.scroll_to(x=app.table.max_scroll_x, animate=False)
        await until(pilot, lambda: "died because" in screen(app)[app.table.region.y])
        assert max(map(len, screen(app))) <= 80

    play(Fake(), steps, "actors", (80, 24))
