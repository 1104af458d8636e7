"""A driver whose output nobody reads for a while: it goes on, and no line is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from skate.client import output

LINES = 5000

DRIVER = f"""
import sys
import skate

skate.init(num_cpus=2)

@skate.remote
def talk():
    for i in range({LINES}):
        print(f"line {{i}} " + "x" * 90)

@skate.remote
def work(i):
    return i

skate.get(talk.remote())
for i in range(200):
    assert skate.get(work.remote(i)) == i
print("alive", file=sys.stderr, flush=True)
skate.shutdown()
print("the end", file=sys.stderr, flush=True)
"""


def test_a_blocked_terminal_does_not_stop_the_program() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert driver.stderr is not None
        assert driver.stderr.readline() == "alive\n", "it must go on though nobody reads its standard output"
        out, err = driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert err == "the end\n"
    found = [int(line.split()[3]) for line in out.splitlines()]
    assert found == list(range(LINES))


def test_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "WAITING_CHARS_MAX", 100)
    writer = output._Writer()
    with writer._changed:  # the thread cannot take anything yet
        for i in range(20):
            writer.put(f"line {i:04}\n", False)
    writer.close()
    out, err = capsys.readouterr()
    written = out.splitlines()
    assert written == [f"line {i:04}" for i in range(len(written))] and 10 <= len(written) < 20
    assert f"{20 - len(written)} lines of output were left out" in err
