"""The runtime environments that one process asks for: inherited, merged, and with folders as packages.

An environment comes as the text that `api/environments.py` has checked. What its tasks run in is that of this process, with what
the text asks for itself. Folders are packed when an environment is used for the first time, and left in the folder of packages of
this machine (`package_files.py`); the text names them by their hashes, and by the node that has them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..wire.environments import (
    PACKAGE as PACKAGE,
    TEXT_BYTES_MAX as TEXT_BYTES_MAX,
    encode as encode,
    expand as expand,
    given_in as given_in,
    merge as merge,
)

if TYPE_CHECKING:
    from .runtime import ClientRuntime

TEXTS_MAX = 1000
"""How many environments are remembered with their packages."""


class Environments:
    """The environments of one process."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.own = ""
        """What this process runs in, or, of a driver, what its tasks do; "" is none."""
        self._packed: dict[str, str] = {}
        self._uploaded: dict[tuple[str, tuple[str, ...], bool], str] = {}
        self._kept: list[int] = []
        """Descriptors of locks: as long as this process lives its packages stay."""

    def of(self, asked: str) -> str:
        """What tasks run in that ask for an environment.

        Raises:
            ValueError: a folder of it cannot be packed.
        """
        if not asked:
            return self.own
        found = self._packed.get(asked)
        if found is None:
            found = encode(merge(given_in(self.own), self._with_packages(given_in(asked))))
            if len(self._packed) >= TEXTS_MAX:
                del self._packed[next(iter(self._packed))]
            self._packed[asked] = found
        return found

    def _with_packages(self, given: dict[str, Any]) -> dict[str, Any]:
        excludes = tuple(given.pop("excludes", ()))
        if "working_dir" in given:
            given["working_dir"] = self._uri(given["working_dir"], excludes, as_module=False)
        if "py_modules" in given:
            given["py_modules"] = [self._uri(each, excludes, as_module=True) for each in given["py_modules"]]
        return given

    def _uri(self, location: str, excludes: tuple[str, ...], as_module: bool) -> str:
        """Where to get what is at a path or URI from."""
        if "://" in location:
            return location
        key = location, excludes, as_module
        if key not in self._uploaded:
            from .package_files import Cache
            from .packages import from_zip, pack

            if location.endswith((".zip", ".whl")) and os.path.isfile(location):
                package = from_zip(location)
            else:
                inside = os.path.basename(location) if as_module and os.path.isdir(location) else ""
                package = pack(location, excludes, inside)
            cache = Cache.of_session(self.runtime.welcome.session_dir)
            self._kept.append(cache.keep(package))
            if self.runtime.node_no:
                self.runtime.ask("keep_package", package.hash)
            self._uploaded[key] = f"{PACKAGE}{package.hash}@{self.runtime.node_no}"
        return self._uploaded[key]

    def close(self) -> None:
        """The packages may go when nobody else needs them."""
        for fd in self._kept:
            os.close(fd)
        self._kept.clear()
