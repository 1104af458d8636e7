"""The start of the head's process, by the node on its machine.

It stands alone, as a node that has just begun starts the head before it imports the rest of itself: both take long to import.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from ..wire.channel import pair

BOOT = "import sys; sys.path[:] = sys.argv[2].split('\\n'); from skate.node.head_process import main; main()"


class Spawned:
    """A head's process that has not been told anything yet, and this end of its channel."""

    def __init__(self) -> None:
        mine, theirs = pair()
        path = "\n".join(entry or os.getcwd() for entry in sys.path)
        self.sock: socket.socket = mine
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT, str(theirs.fileno()), path],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
