"""Ids as users see them: text in hexadecimal, which also answers to what Ray's classes of ids have."""

from __future__ import annotations


class Id(str):
    """An id in hexadecimal.

    Example:
        >>> ident = Id("00ff")
        >>> ident, ident.hex(), ident.binary()
        ('00ff', '00ff', b'\\x00\\xff')
    """

    __slots__ = ()

    def hex(self) -> str:
        """As plain text."""
        return str(self)

    def binary(self) -> bytes:
        """As bytes."""
        return bytes.fromhex(self)

    def is_nil(self) -> bool:
        """Whether it is the id of nothing."""
        return not self.strip("f")
