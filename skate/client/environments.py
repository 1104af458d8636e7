"""The runtime environments that one process asks for: inherited, merged, and with folders as packages.

An environment comes as the text that `api/environments.py` has checked. What its tasks run in is that of this process, with what
the text asks for itself. Folders are packed when an environment is used for the first time, and left in the folder of packages of
this machine (`package_files.py`); the text names them by their hashes, and by the node that has them.

A program may use ever new environments. What it has not asked for for longest is forgotten, and the locks of its packages too:
they stay while the folder of packages has room, and a folder that is asked for again is packed again.

INV-1: a package has a lock here while a text that is remembered, or the own one, names it.
INV-2: at most `PACKAGES_MAX` packages have a lock, but for those of the own text and of the one that was asked for last.
"""

from __future__ import annotations

import os
import threading
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
"""How many environments are remembered."""
PACKAGES_MAX = 128
"""How many packages these have: each costs a descriptor."""
Key = tuple[str, tuple[str, ...], bool]
"""A folder or file, what is left out of it, and whether it is a module."""


class Environments:
    """The environments of one process."""

    def __init__(self, runtime: ClientRuntime) -> None:
        self.runtime = runtime
        self.own = ""
        """What this process runs in, or, of a driver, what its tasks do; "" is none."""
        self._lock = threading.Lock()
        self._packing = threading.Lock()
        """Packing takes long: nobody waits for it whose environment is known."""
        self._packed: dict[str, str] = {}
        """Texts by what was asked for; what was asked for last is the last."""
        self._packages: dict[Key, tuple[str, int]] = {}
        """URIs, and descriptors of the locks that keep them."""

    def of(self, asked: str) -> str:
        """What tasks run in that ask for an environment.

        Raises:
            ValueError: a folder of it cannot be packed.
        """
        if not asked:
            return self.own
        found = self._known(asked)
        if found is not None:
            return found
        with self._packing:
            found = self._known(asked)
            if found is None:
                try:
                    found = encode(merge(given_in(self.own), self._with_packages(given_in(asked))))
                except BaseException:
                    with self._lock:
                        self._let_go()  # one folder may have been packed, another not
                    raise
                with self._lock:
                    self._packed[asked] = found
                    self._forget_oldest()
        return found

    def _known(self, asked: str) -> str | None:
        with self._lock:
            found = self._packed.pop(asked, None)
            if found is not None:
                self._packed[asked] = found
        return found

    def _forget_oldest(self) -> None:
        while len(self._packed) > 1 and (len(self._packed) > TEXTS_MAX or len(self._packages) > PACKAGES_MAX):
            forgotten = self._packed.pop(next(iter(self._packed)))
            if PACKAGE in forgotten:
                self._let_go()

    def _let_go(self) -> None:
        """Of packages that no text names any more."""
        texts = [self.own, *self._packed.values()]
        for key, (uri, fd) in list(self._packages.items()):
            if not any(uri in text for text in texts):
                del self._packages[key]
                os.close(fd)

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
        if key not in self._packages:
            from .package_files import Cache
            from .packages import from_zip, pack

            if location.endswith((".zip", ".whl")) and os.path.isfile(location):
                package = from_zip(location)
            else:
                inside = os.path.basename(location) if as_module and os.path.isdir(location) else ""
                package = pack(location, excludes, inside)
            cache = Cache.of_session(self.runtime.welcome.session_dir)
            self._packages[key] = f"{PACKAGE}{package.hash}@{self.runtime.node_no}", cache.keep(package)
            if self.runtime.node_no:
                self.runtime.ask("keep_package", package.hash)
        return self._packages[key][0]

    def close(self) -> None:
        """The packages may go when nobody else needs them."""
        with self._lock:
            for _, fd in list(self._packages.values()):
                os.close(fd)
            self._packages.clear()
