"""Runtime environments where everything is one process: its variables are changed while a task runs, and nothing else can be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from ..client.environments import encode, expand, given_in, merge
from ..exceptions import UnsupportedError


def inherited(own: str, asked: str) -> str:
    """The environment of a task that asks for one, where `own` is that of whoever starts it.

    Raises:
        UnsupportedError: it asks for more than variables. Imports need not be there early: this process keeps what it imports.
    """
    given = given_in(asked)
    for name in given:
        if name not in ("env_vars", "imports", "timeout_s", "eager"):
            known = "worker_process_setup_hook" if name == "hook" else name
            raise UnsupportedError(f'runtime_env[{known!r}] is not supported with mode="inline": only env_vars are.')
    return encode(merge(given_in(own), given)) if asked else own


@contextlib.contextmanager
def variables(text: str, of: Mapping[str, str]) -> Iterator[None]:
    """Inside, this process has the variables of an environment, in which `${NAME}` is one of `of`."""
    wanted = expand(given_in(text).get("env_vars", {}), of)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
