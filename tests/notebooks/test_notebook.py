"""skate in a real notebook: one kernel, started once, in which every test runs cells as a user does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from skate.testing import eventually

LIMIT_S = 30
START = """
import os, time
import skate
context = skate.init(num_cpus=2, object_store_memory=100 << 20)

@skate.remote
def square(x):
    "The square of a number."
    return x * x

@skate.remote(max_restarts=1)
class Counter:
    def __init__(self):
        self.total = 0
    def add(self, number):
        self.total += number
        return self.total
"""


class _Client(NotebookClient):
    """Remembers what the kernel says, also what is replaced later."""

    heard: list[dict[str, Any]]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        self.heard.append(msg)
        return super().process_message(msg, cell, cell_index)


class Notebook:
    """A notebook that is open in a kernel."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._book = nbformat.v4.new_notebook()
        resources = {"metadata": {"path": str(folder)}}
        self.messages: list[dict[str, Any]] = []
        self._client = _Client(self._book, timeout=LIMIT_S, kernel_name="python3", resources=resources)
        self._client.heard = self.messages
        self._context = self._client.async_setup_kernel()
        self._loop.run_until_complete(self._context.__aenter__())

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell; its outputs.

        Raises:
            CellExecutionError: it raises an exception.
        """
        self._book.cells.append(nbformat.v4.new_code_cell(code))
        index = len(self._book.cells) - 1
        cell = self._loop.run_until_complete(self._client.async_execute_cell(self._book.cells[index], index))
        return list(cell.outputs)

    def interrupt(self) -> None:
        """What the button with the square does."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._client.km.interrupt_kernel()))

    def close(self) -> None:
        """End the kernel."""
        self._loop.run_until_complete(self._context.__aexit__(None, None, None))
        self._loop.close()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook in which skate runs."""
    book = Notebook(tmp_path_factory.mktemp("notebook"))
    try:
        book.run(START)
        yield book
        book.run("skate.shutdown()")
    finally:
        book.close()


class Page(HTMLParser):
    """Checks that HTML is well formed, and its tables have what a screen reader needs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tables = self.captions = self.headings = 0
        self.feed(html)
        assert not self.open, f"left open: {self.open}"
        assert self.captions == self.tables > 0 and self.headings

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        style = dict(attrs).get("style") or ""
        assert "#" not in style and "rgb" not in style, "colours are those of the notebook"
        if tag == "th":
            self.headings += 1
            assert dict(attrs).get("scope") in ("row", "col")
        if tag == "progress":
            assert dict(attrs).get("aria-label")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown(outputs: list[dict[str, Any]]) -> tuple[str, str]:
    """The text of the HTML that a cell shows, and the plain text."""
    (data,) = [output["data"] for output in outputs if output["output_type"] == "execute_result"]
    return "|".join(Page(data["text/html"]).text), data["text/plain"]


def printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_what_init_returns(notebook: Notebook) -> None:
    html, text = shown(notebook.run("context"))
    assert "skate version|" in html and "Session|" in html and text.startswith("SkateContext(version=")


def test_the_cluster(notebook: Notebook) -> None:
    notebook.run("counter = Counter.options(num_cpus=1).remote(); skate.get(counter.add.remote(1))")
    html, text = shown(notebook.run("skate.cluster()"))
    assert "cluster of 1 node|Node|Name|Address|State|In use|Objects|" in html and "|1/2 CPU" in html
    assert "MB objects" in html and text.startswith("cluster of 1 node\n  0  ") and "alive  1/2 CPU" in text
    notebook.run("del counter")


def test_references(notebook: Notebook) -> None:
    html, text = shown(notebook.run("ref = square.remote(3); skate.wait([ref]); ref"))
    assert "|State|done" in html and "Waits for" not in html and text.startswith("ObjectRef(")
    notebook.run("""
@skate.remote
def waits():
    while not os.path.exists("go"):
        time.sleep(0.01)
""")
    html, _ = shown(notebook.run("late = waits.options(name='<late>').remote(); late"))
    assert "|State|pending|Waits for|<late> " in html, "it is escaped, or the parser would have taken it for a tag"
    notebook.run("open('go', 'w').close(); skate.get(late)")
    html, _ = shown(notebook.run("bad = square.remote('x'); skate.wait([bad]); bad"))
    assert "|State|failed: get() raises the error" in html


def test_functions_and_actors(notebook: Notebook) -> None:
    html, text = shown(notebook.run("square.options(num_cpus=2)"))
    assert "square.remote(...)" in html and "The square of a number." in html and "num_cpus=2" in html
    assert text == "RemoteFunction(square)"
    html, text = shown(notebook.run("Counter"))
    assert "Actor class Counter|" in html and "|Methods|add|Options|max_restarts=1" in html
    notebook.run("counter = Counter.remote()")
    html = eventually(lambda: "State|alive" in (html := shown(notebook.run("counter"))[0]) and html)
    assert "Actor Counter|" in html and "|Methods|add" in html
    notebook.run("del counter")


def test_placement_groups(notebook: Notebook) -> None:
    notebook.run("group = skate.util.placement_group([{'CPU': 1}], name='mine'); skate.get(group.ready())")
    html, _ = shown(notebook.run("group"))
    assert "|State|CREATED|Strategy|PACK|Name|mine|Bundles|{'CPU': 1.0}" in html
    notebook.run("skate.util.remove_placement_group(group)")


def test_a_loop_runs_in_a_notebook(notebook: Notebook) -> None:
    assert shown_plain(notebook.run("await square.remote(5)")) == "25"
    outputs = notebook.run("import asyncio\nawait asyncio.gather(*[square.remote(i) for i in range(3)])")
    assert shown_plain(outputs) == "[0, 1, 4]"


def shown_plain(outputs: list[dict[str, Any]]) -> str:
    (text,) = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    return str(text)


def test_what_workers_print_is_in_the_cell(notebook: Notebook, tmp_path: Path) -> None:
    """It arrives while a cell runs, though another thread writes it."""
    notebook.run("""
@skate.remote
def says():
    print("hello from a worker")
""")
    mark = tmp_path / "seen"

    def watch() -> None:
        eventually(lambda: any("hello" in m["content"].get("text", "") for m in list(notebook.messages)), 10)
        mark.touch()

    thread = threading.Thread(target=watch)
    thread.start()
    outputs = notebook.run(f"""
skate.get(says.remote())
while not os.path.exists({str(mark)!r}):
    time.sleep(0.01)
""")
    thread.join(10)
    assert "hello from a worker" in printed(outputs) and "(says pid=" in printed(outputs)


def test_errors_are_those_of_the_task(notebook: Notebook) -> None:
    with pytest.raises(CellExecutionError) as caught:
        notebook.run("skate.get(square.remote('x'))")
    assert "TypeError: can't multiply" in str(caught.value) and "line 8, in square" in str(caught.value)
    assert shown_plain(notebook.run("skate.get(square.remote(4))")) == "16"


def test_an_interrupt_ends_the_wait_and_nothing_else(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("long = skate.remote(lambda: time.sleep(60))")
    for number in range(3):  # more than one cell: the kernel puts its own handler back before each
        mark = tmp_path / str(number)

        def press(mark: Path = mark) -> None:
            eventually(mark.exists, 10)
            notebook.interrupt()

        thread = threading.Thread(target=press)
        thread.start()
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            notebook.run(f"ref = long.remote(); open({str(mark)!r}, 'w').close(); skate.get(ref)")
        thread.join(10)
        notebook.run("skate.cancel(ref, force=True)")
        assert shown_plain(notebook.run("skate.get(square.remote(4))")) == "16"
    guarded = "import signal; signal.getsignal(signal.SIGINT).__module__"
    assert shown_plain(notebook.run(guarded)) == "'skate.client.interrupts'"


def test_a_dataset_shows_itself_and_how_far_it_is(notebook: Notebook) -> None:
    outputs = notebook.run("""
import skate.data
data = skate.data.range(100, override_num_blocks=4).map_batches(lambda batch: (time.sleep(0.2), batch)[1])
data
""")
    (data,) = [output["data"] for output in outputs if output["output_type"] == "execute_result"]
    assert "num_rows" in data["text/html"]
    notebook.messages.clear()
    outputs = notebook.run("data.materialize().count()")
    assert shown_plain(outputs) == "100"
    bars = [m["content"]["data"]["text/html"] for m in notebook.messages if m["msg_type"].endswith("display_data")]
    assert len(bars) >= 3 and bars[-1] == "", "it changes, and is gone at the end"
    text = "|".join(Page(bars[0]).text)
    assert "Dataset|Operator|Done|Tasks|Rows|Bytes|Left|" in text and "MapBatches" in text
