"""`install_as_ray()`: `import ray` gives skate.

A finder at the front of `sys.meta_path` answers for `ray` and `ray.<anything>` with the very module objects of
`skate` and `skate.<anything>`. They must be the same objects: a class that existed twice would break
`isinstance` and `except`, and a module that existed twice would have two runtimes.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_ALIAS = "ray"
_OWN = "skate"


def _own_name(name: str) -> str:
    return _OWN + name[len(_ALIAS) :]


class _Loader(importlib.abc.Loader):
    """Loads the skate module of an alias: the same object, whose own `__spec__` and `__name__` stay as they are."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(_own_name(spec.name))
        # The import system writes its own spec into what it gets from here; exec_module puts this one back.
        spec.loader_state = {
            name: getattr(module, name)
            for name in ("__spec__", "__loader__", "__package__", "__path__", "__file__", "__cached__")
            if hasattr(module, name)
        }
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        alias = spec.name
        saved: dict[str, Any] | None = spec.loader_state
        if saved is None:
            return
        for name, value in saved.items():
            setattr(module, name, value)
        sys.modules[alias] = module


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `ray` and what is below it, wherever skate has a module of that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _ALIAS and not fullname.startswith(_ALIAS + "."):
            return None
        try:
            found = importlib.util.find_spec(_own_name(fullname))
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: skate stands in for Ray here (install_as_ray), and has no "
                f"{_own_name(fullname)}.",
                name=fullname,
            )
        is_package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, _Loader(), origin=found.origin, is_package=is_package)


_finder = _Finder()


def install_as_ray() -> None:
    """Make `import ray`, and `from ray.util import ...`, mean skate in this process and in its workers.

    Call it before the first `import ray`. A second call does nothing.

    Raises:
        ImportError: the real Ray has been imported already.

    Example:
        >>> import skate
        >>> skate.install_as_ray()
        >>> import ray
        >>> ray is skate
        True
    """
    own = sys.modules[_OWN]
    loaded = sys.modules.get(_ALIAS)
    if loaded is not None and loaded is not own:
        raise ImportError("install_as_ray(): the real ray has been imported already. Call it first, or restart Python.")
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name, module in list(sys.modules.items()):
        if module is not None and (name == _OWN or name.startswith(_OWN + ".")):
            sys.modules.setdefault(_ALIAS + name[len(_OWN) :], module)


def is_installed() -> bool:
    """True after `install_as_ray()`: workers of this driver install it, too."""
    return _finder in sys.meta_path
