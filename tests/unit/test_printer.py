"""What the driver prints of lines that several workers have printed."""

from __future__ import annotations

import pytest

from skate.client.output import Printer
from skate.wire.messages import Output


def test_lines_that_were_repeated_together_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer()
    dump = ["Fatal Python error", "Current thread", "  File 'x.py'"]
    for pid in (1, 2, 3):
        printer.show(Output(f"f pid={pid}", True, dump))
    printer.show(Output("g pid=4", True, ["alone"]))
    printer.show(Output("f pid=1", True, ["alone"]))
    printer.finish()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        *(f"(f pid=1) {line}" for line in dump),
        "(g pid=4) alone",
        "(f pid=1) Fatal Python error [and 2 more lines repeated 2x by other processes]",
        "(g pid=4) alone [repeated 1x by other processes]",
    ]
