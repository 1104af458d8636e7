"""Every Python example of README.md and docs/ runs: the blocks of a page as one program, in order.

A `text` block right after a `python` block is what that block prints, with `...` for anything.
"""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skate.testing import eventually, session_processes
from skate.testing.nodes import private

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LIMIT_S = 60
MARK = "<end of block {}>"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@dataclass(slots=True)
class Block:
    """One example: its code, the line where it begins, and what it must print, if the page says so."""

    line: int
    code: str
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    end = -1
    for match in BLOCK.finditer(text):
        language, body = match.groups()
        if language == "python":
            found.append(Block(text.count("\n", 0, match.start()) + 2, body))
        elif language == "text" and found and not text[end : match.start()].strip():
            found[-1].output = body
        end = match.end()
    return found


def program(found: list[Block]) -> str:
    """The blocks as one program, in which each has the line numbers that it has on the page."""
    lines: list[str] = []
    for i, block in enumerate(found):
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.code.splitlines()
        lines.append(f"print({MARK.format(i)!r}, flush=True)")
    return "\n".join(lines) + "\n"


def same(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page meets no cluster of the user's, leaves no token in the home folder, and no node."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with private(str(tmp_path)):
        yield
    try:
        eventually(lambda: not session_processes(str(tmp_path)), what="all that a page has started has ended")
    finally:
        for pid in session_processes(str(tmp_path)):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path) -> None:
    found = blocks(page)
    if not found:
        return
    script = tmp_path / f"{page.stem.replace('-', '_')}_page.py"
    script.write_text(program(found))
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"{page.name}: the lines below are those of the page\n{done.stderr}"
    rest = done.stdout
    for i, block in enumerate(found):
        printed, _, rest = rest.partition(MARK.format(i) + "\n")
        if block.output is not None:
            assert same(block.output, printed), (
                f"{page.name}, line {block.line}: expected\n{block.output}\nbut it prints\n{printed}"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: there is no {target}"


def test_blocks_are_found(tmp_path: Path) -> None:
    """The tests above cannot pass by finding nothing."""
    page = tmp_path / "page.md"
    page.write_text("a\n```python\nprint(1)\n```\n```text\n1\n```\n\n```python\nx\n```\nb\n```text\nnot output\n```\n")
    assert blocks(page) == [Block(3, "print(1)\n", "1\n"), Block(10, "x\n", None)]
    assert same("a ... c\n", "a b c\n") and not same("a\n", "b\n")
    assert sum(len(blocks(page)) for page in PAGES) > 30
