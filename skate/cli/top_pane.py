"""What opens over the screen of `skate top`: the output of a command as it comes, and a question before something is killed."""

from __future__ import annotations

import asyncio
import codecs
import shlex
import sys

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Log, Static
from textual.worker import Worker

LINES_MAX = 5000
"""So many lines of a command are kept, the last."""
READ_BYTES = 65536
END_S = 5.0
"""How long a command that is killed may take to end."""


class Output(ModalScreen[None]):
    """A command of skate, and what it prints. It is killed when the screen is closed."""

    BINDINGS = [
        Binding("escape,q,enter", "close", "Back"),
        Binding("r", "again", "Again"),
    ]

    def __init__(self, words: list[str], options: list[str]) -> None:
        super().__init__()
        self.words = words
        self.options = options
        """Which cluster is meant."""
        self._runs: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield Static(f"skate {shlex.join(self.words)}", id="title", markup=False)
        yield Log(max_lines=LINES_MAX, id="output")
        yield Footer()

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(Log).focus()
        self.action_again()

    def action_again(self) -> None:
        """Run it once more."""
        if self._runs is not None:
            self._runs.cancel()
        self.query_one(Log).clear()
        self._runs = self.run_worker(self._run(), exclusive=True)

    def action_close(self) -> None:
        """Back to the table."""
        if self._runs is not None:
            self._runs.cancel()
        self.dismiss()

    async def _run(self) -> None:
        log = self.query_one(Log)
        log.loading = True
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "skate.cli", *self.words, *self.options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while data := await process.stdout.read(READ_BYTES):
                log.loading = False
                log.write(decoder.decode(data))
            code = await process.wait()
            log.loading = False
            log.write_line("" if not code else f"(it has ended with exit code {code})")
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.wait_for(process.wait(), END_S)


class Words(ModalScreen[None]):
    """A text that is too long for a table."""

    BINDINGS = [Binding("escape,q,enter", "dismiss", "Back")]

    def __init__(self, title: str, words: str) -> None:
        super().__init__()
        self.title_, self.words = title, words

    def compose(self) -> ComposeResult:
        """Its parts."""
        yield Static(self.title_, id="title", markup=False)
        yield Static(self.words, id="words", markup=False)
        yield Footer()


class Question(ModalScreen[bool]):
    """Something that is only done after a yes."""

    BINDINGS = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        """Its parts."""
        with Vertical(id="question"):
            yield Static(self.question, markup=False)
            yield Static("y: yes    n: no")
