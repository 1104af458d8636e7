"""Remote functions, under the name of Ray's module."""

from __future__ import annotations

from .api.functions import RemoteFunction

__all__ = ["RemoteFunction"]
