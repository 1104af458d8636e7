"""The node process. Arguments: the descriptor of the driver's channel, and the settings as JSON."""

from __future__ import annotations

from .main import main

main()
