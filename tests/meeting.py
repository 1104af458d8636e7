"""Tasks that show that they run at the same time."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_S = 10


def meet(folder: Path, me: int, count: int) -> bool:
    """Whether so many come to a folder while each of them waits there."""
    (folder / str(me)).touch()
    deadline = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
