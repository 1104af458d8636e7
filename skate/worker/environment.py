"""The process that sets an environment up, and then is the zygote of its workers.

It is a fork of the first zygote. It brings packages here and unpacks them, has an installer build what is to be installed
(`installing.py`), and goes on in one of two ways: as it is, if only variables, folders and paths differ; or it executes the
interpreter of the environment, which becomes a zygote in `boot.py`. What its workers are to be like is a `Place`.

It blocks, for as long as its time limit says: nobody else waits for it.
"""

from __future__ import annotations

import base64
import importlib
import os
import pickle
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
from msgspec import Struct, field

from ..exceptions import RuntimeEnvSetupError
from ..wire import forks, messages as m
from ..wire.channel import Channel, ChannelClosed, wait_readable
from ..wire.environments import PACKAGE, Environment, decode, expand
from .output import NAME_MARK

if TYPE_CHECKING:
    from ..client.package_files import Cache

WARM_AFTER_S = 0.05
DAY_S = 86400.0
ALONE = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Variables with which libraries start no thread when they are imported: who forks has to be alone. (The threads of numpy's
OpenBLAS end with each fork, and begin anew where they are needed.)"""


class Place(Struct):
    """What the workers of an environment start with beside what all of their job do."""

    text: str
    """The environment: what they start in turn inherits it."""
    cwd: str = ""
    paths: list[str] = field(default_factory=list)
    """Before all others of `sys.path`."""
    hook: str = ""
    own_paths: list[str] = field(default_factory=list)
    """Of an interpreter of its own: what that would have as `sys.path`; [] if it is the driver's."""
    base: list[str] = field(default_factory=list)
    """Where the node's interpreter has its libraries, which another must not see."""
    bin: str = ""
    """Where commands that were installed are."""
    imports: list[str] = field(default_factory=list)
    """What its zygote imports, so that its workers share it."""
    sys_path: list[str] = field(default_factory=list)
    """Where its job imports from."""
    timeout_s: float = -1.0
    """How long importing may take; -1: without limit."""

    def enter(self, begin: m.Begin) -> None:
        """Change what a worker starts with."""
        begin.sys_path = self._path(begin.sys_path)
        begin.cwd = self.cwd or begin.cwd

    def _path(self, theirs: list[str]) -> list[str]:
        """`sys.path` of its workers, for that of their job."""
        if self.own_paths:
            theirs = [path for path in theirs if not path.startswith(tuple(self.base))]
        return list(dict.fromkeys([*self.paths, *theirs, *self.own_paths]))

    def load(self) -> None:
        """Import what its workers are to have from the start, as they would.

        Raises:
            RuntimeEnvSetupError: that fails, or takes too long.
        """
        if not self.imports:
            return
        sys.path[:] = self._path(self.sys_path)
        name, alone = "", {each: value for each, value in ALONE.items() if each not in os.environ}
        os.environ.update(alone)
        try:
            with _limited(self.timeout_s, _too_long(self.timeout_s)):
                for name in self.imports:
                    importlib.import_module(name)
        except Exception as error:
            raise RuntimeEnvSetupError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
        finally:
            for each in alone:
                del os.environ[each]

    def show(self, variables: MutableMapping[str, str]) -> None:
        """Have what is started by command find what was installed, and brought here."""
        if self.bin:
            variables["VIRTUAL_ENV"] = os.path.dirname(self.bin)
            variables["PATH"] = f"{self.bin}:{variables.get('PATH', os.defpath)}"
        if self.paths:
            variables["PYTHONPATH"] = ":".join([*self.paths, *filter(None, [variables.get("PYTHONPATH")])])

    def call_hook(self) -> None:
        """What each worker does first."""
        if not self.hook:
            return
        if self.hook.startswith("pickle:"):
            hook = pickle.loads(base64.b64decode(self.hook.removeprefix("pickle:")))
        else:
            module, _, name = self.hook.rpartition(".")
            hook = getattr(importlib.import_module(module), name)
        hook()


class Setup:
    """One environment on its way."""

    def __init__(self, channel: Channel | None, environment: Environment, session_dir: str) -> None:
        """`channel`: to the node, which brings packages; None: of a job's entrypoint, which names none."""
        self.channel = channel
        self.environment = environment
        self._session_dir = session_dir
        limit = environment.timeout_s
        self._until = time.monotonic() + (limit if limit > 0 else DAY_S)
        self.locks: list[int] = []
        """What keeps all that it uses in the cache. Workers inherit them."""

    @cached_property
    def cache(self) -> Cache:
        """What this machine has already."""
        from ..client.package_files import Cache

        return Cache.of_session(self._session_dir)

    def left_s(self) -> float:
        """How much time it still has.

        Raises:
            RuntimeEnvSetupError: none.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise RuntimeEnvSetupError(_too_long(self.environment.timeout_s))
        return left

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Raise `TimeoutError` in this thread, which is the only one, when there is no time left."""
        with _limited(self.left_s(), _too_long(self.environment.timeout_s)):
            yield

    def folder_of(self, uri: str) -> str:
        """The folder with what is at a URI, unpacked."""
        from ..client.package_files import Busy

        try:
            if uri.startswith(PACKAGE):
                name, _, node = uri.removeprefix(PACKAGE).partition("@")
                self._bring(name, int(node or 0))
                path, fd = self.cache.unpacked(name, self.left_s())
            else:
                from .downloads import download, name_of

                name = name_of(uri)

                def build(path: Path) -> None:
                    with self.in_time():
                        download(uri, path, self.left_s())

                _, fd = self.cache.entry(f"{name}.zip", build, self.left_s())
                self.locks.append(fd)
                path, fd = self.cache.unpacked(name, self.left_s(), strip_top=uri.endswith(".zip"))
        except (OSError, ValueError, Busy) as error:
            raise RuntimeEnvSetupError(f"{uri} cannot be used: {error}") from None
        self.locks.append(fd)
        return str(path)

    def _bring(self, name: str, node: int) -> None:
        """Have the node fetch a package that is not on this machine."""
        fd = self.cache.find(f"{name}.zip")
        if fd is None and (found := self.cache.find(name)) is not None:
            fd = found  # it is unpacked: its zip is not needed
        if fd is None:
            if self.channel is None:
                raise RuntimeEnvSetupError(f"package {name} is not on this machine")
            _send(self.channel, forks.Need(name, node))
            answer = self._answer(self.channel)
            if answer.error:
                raise RuntimeEnvSetupError(f"package {name} cannot be had: {answer.error}")
            fd = self.cache.find(f"{name}.zip")
        if fd is not None:
            self.locks.append(fd)

    def _answer(self, channel: Channel) -> forks.Package:
        while (received := channel.receive()) is None:
            wait_readable(channel.fd, min(1.0, self.left_s()))
        message = forks.decode_to_zygote(received[0])
        if type(message) is not forks.Package:
            raise RuntimeError(f"expected Package, got {type(message).__name__}")
        return message


def _too_long(limit_s: float) -> str:
    return f"it took longer than {limit_s:g} s, which is its setup_timeout_seconds"


@contextmanager
def _limited(seconds: float, reason: str) -> Iterator[None]:
    """Raise `TimeoutError` in the main thread after so many seconds; -1: never."""

    def over(*_: object) -> None:
        raise TimeoutError(reason)

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(0.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def serve(sock: socket.socket, arena_fd: int, message: forks.Fork, warm: bool) -> NoReturn:
    """Set an environment up, and be its zygote; `warm`: as the one that this is a fork of."""
    print(f"{NAME_MARK}runtime_env", flush=True)
    channel = Channel(sock)
    try:
        environment = decode(message.environment)
        setup = Setup(channel, environment, message.folder)
        place, command = set_up(setup, message.environment)
        place.sys_path = message.sys_path
    except RuntimeEnvSetupError as error:
        _fail(channel, error.error_message or str(error))
    except ChannelClosed:
        os._exit(0)  # it is not wanted any more
    except Exception as error:
        _fail(channel, f"{type(error).__name__}: {error}")
    if command:
        _execute(command, channel, arena_fd, place, setup)
    be_zygote(channel, arena_fd, place, warm)


def set_up(setup: Setup, text: str) -> tuple[Place, list[str]]:
    """Do all that an environment asks for.

    Returns:
        What its workers are like, and the command that starts its interpreter; [] if that is the one which runs.

    Raises:
        RuntimeEnvSetupError: something of it cannot be had.
    """
    environment = setup.environment
    variables = expand(environment.env_vars, os.environ)
    place = Place(text, hook=environment.hook, imports=environment.imports, timeout_s=environment.timeout_s)
    if environment.working_dir:
        place.cwd = setup.folder_of(environment.working_dir)
        place.paths.append(place.cwd)
    place.paths.extend(setup.folder_of(uri) for uri in environment.py_modules)
    command = []
    if environment.starts_anew:
        command = shlex.split(environment.py_executable) or [sys.executable]
        if environment.pip or environment.uv:
            from .installing import install

            command = [install(setup, command)]
            place.bin = os.path.dirname(command[0])
    os.environ.update(variables)
    if "TZ" in variables:
        time.tzset()
    place.show(os.environ)
    return place, command


def be_zygote(channel: Channel, arena_fd: int, place: Place, warm: bool = False) -> NoReturn:
    """Fork workers until the node has enough of it."""
    from .zygote import Zygote

    try:
        place.load()
        _send(channel, forks.Prepared())
        Zygote(channel, arena_fd, WARM_AFTER_S, place, warm).run()
    except RuntimeEnvSetupError as error:
        _fail(channel, error.error_message or str(error))
    except ChannelClosed:
        pass  # the node does not want it any more
    os._exit(0)


def _execute(command: list[str], channel: Channel, arena_fd: int, place: Place, setup: Setup) -> NoReturn:
    """Become the interpreter of the environment."""
    import cloudpickle

    place.base = sorted({str(Path(each, "lib")) for each in (sys.prefix, sys.base_prefix, sys.exec_prefix)})
    for fd in (channel.fd, arena_fd, *setup.locks):
        os.set_inheritable(fd, True)
    libraries = [
        str(Path(file).parents[1]) for file in (__file__.rpartition("/")[0], msgspec.__file__, cloudpickle.__file__)
    ]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    boot = str(Path(__file__).with_name("boot.py"))
    arguments = [boot, version, str(channel.fd), str(arena_fd), msgspec.json.encode(place).decode(), *libraries]
    sys.stdout.flush()
    try:
        os.execvp(command[0], [*command, *arguments])
    except OSError as error:
        _fail(channel, f"{shlex.join(command)} cannot be executed: {error}")


def start_anew(arguments: list[str]) -> NoReturn:
    """In the interpreter of an environment: be the zygote. `boot.py` calls this."""
    from .zygote import die_with_parent

    die_with_parent(os.getppid())
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    os.set_inheritable(channel.fd, False)
    place = msgspec.json.decode(arguments[2], type=Place)
    place.own_paths = [path for path in sys.path if path]
    be_zygote(channel, int(arguments[1]), place)


def _fail(channel: Channel, reason: str) -> NoReturn:
    try:
        _send(channel, forks.Failed(reason))
    finally:
        os._exit(1)


def _send(channel: Channel, message: object) -> None:
    """To the node, which always reads."""
    from ..wire.channel import wait_writable

    done = channel.send(m.encode(message))
    while not done:
        wait_writable(channel.fd)
        done = channel.flush()
