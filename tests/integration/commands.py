"""Commands of skate, called in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from skate.cli.main import cli


def shell(*words: str, code: int = 0) -> Any:
    """What a command prints: as data, if it is asked for JSON.

    Args:
        words: of the command line.
        code: how it has to end.
    """
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in words else done.output
