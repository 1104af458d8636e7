"""What functions of `skate.util.state` raise when they cannot say what was asked."""

from __future__ import annotations


class RayStateApiException(RuntimeError):
    """The answer is not complete: somebody could not be asked."""
