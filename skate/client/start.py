"""Start of skate on this machine: one node process, and a channel to it.

Nothing listens on a port: the channel is a socket pair that the node inherits. The node ends when the channel does, so a
killed driver leaves nothing behind.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys

import msgspec

from .. import __version__
from ..exceptions import RaySystemError
from ..store.arena import HEADER_BYTES, Arena
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, pair, wait_readable
from . import current, interrupts
from .init_options import InitOptions
from .job_config import submission, tell_job
from .machine import (
    BOOT,
    START_TIMEOUT_S,
    allow_files,
    make_session_dir,
    open_log,
    own_labels,
    resources,
    without_secrets,
)
from .output import Printer
from .runtime import ClientRuntime


def start(options: InitOptions) -> ClientRuntime:
    """Start a node and connect to it.

    Raises:
        RaySystemError: the node did not come up; the message has its last words.
    """
    allow_files()
    total, store = resources(options)
    session_dir = make_session_dir(options.temp_dir)
    mine, theirs = pair()
    settings = msgspec.json.encode(
        {
            "total": total,
            "arena_bytes": store + HEADER_BYTES,
            "session_dir": session_dir,
            "system": options.system,
            "labels": {**own_labels(options), **options.labels},
            "metrics_port": options.metrics_port,
        }
    ).decode()
    path = "\n".join(entry or os.getcwd() for entry in sys.path)
    with open_log(session_dir) as log:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT, str(theirs.fileno()), settings, path],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=without_secrets(),
        )
    theirs.close()
    channel = Channel(mine)
    namespace = options.namespace or secrets.token_hex(8)
    try:
        runtime = _greet(channel, options, namespace)
    except (ChannelClosed, TimeoutError) as error:
        process.kill()
        process.wait()
        last_words = _last_words(session_dir)
        shutil.rmtree(session_dir, ignore_errors=True)
        raise RaySystemError(f"the node process did not start: {error}\n{last_words}") from None
    except BaseException:
        process.kill()
        process.wait()
        shutil.rmtree(session_dir, ignore_errors=True)
        raise
    _finish(runtime, process)
    return runtime


def attach(sock: socket.socket, options: InitOptions) -> ClientRuntime:
    """Be a driver of a node that runs already, at the other end of `sock`.

    Raises:
        ConnectionError: it will not have this driver.
    """
    allow_files()
    channel = Channel(sock)
    namespace = options.namespace or secrets.token_hex(8)
    try:
        runtime = _greet(channel, options, namespace, submission())
    except (ChannelClosed, TimeoutError) as error:
        channel.close()
        raise ConnectionError(f"the node does not accept this driver: {error}") from None
    _finish(runtime, None)
    if runtime.links.clustered:
        with runtime.lock:
            runtime.links.head.open()  # the head has to know when this driver ends
        tell_job(runtime)
    return runtime


def _greet(channel: Channel, options: InitOptions, namespace: str, job: str = "") -> ClientRuntime:
    hello = _hello(options, namespace)
    hello.waits = bool(options.env)
    hello.submission = job
    channel.send(m.encode(hello))
    welcome, arena_fd = _welcome(channel)
    runtime = ClientRuntime(channel, welcome, Arena(arena_fd, welcome.arena_bytes), namespace, True)
    runtime.environment = (hello.sys_path, hello.cwd, hello.alias_ray, hello.main_path)
    runtime.log_to_driver = hello.log_to_driver
    if options.env:
        try:
            runtime.environments.own = runtime.environments.of(options.env)
        except BaseException:
            runtime.shutdown()
            raise
        with runtime.lock:
            runtime.send(m.Prepare(runtime.environments.own))
    return runtime


def _finish(runtime: ClientRuntime, process: subprocess.Popen[bytes] | None) -> None:
    printer = Printer()
    runtime.on_output = printer.show
    restore = interrupts.install(runtime)
    inner = runtime.shutdown
    over = False

    def shutdown() -> None:
        nonlocal over
        if over:  # Python 3.14 calls what was unregistered while it exits
            return
        over = True
        atexit.unregister(shutdown)
        current.set_runtime(None)
        restore()
        inner()
        printer.finish()
        if process is None:
            return
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(runtime.welcome.session_dir, ignore_errors=True)  # a node that was killed has left it

    runtime.shutdown = shutdown  # type: ignore[method-assign]
    runtime.node_process = process  # type: ignore[attr-defined]
    atexit.register(shutdown)
    _guard_forks()
    runtime.pump.start_thread()


@functools.cache
def _guard_forks() -> None:
    """Hooks at fork cannot be taken back: there is one, for whatever runtime there is then."""
    os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """In a child that the user's code forked: the runtime is the parent's. Leave its sockets alone, and start afresh on
    the first use."""
    runtime = current.runtime
    if not isinstance(runtime, ClientRuntime):
        return
    current.set_runtime(None)
    runtime.leave_to_parent("this process was forked from a skate driver: call skate.init() in it to use skate here")
    atexit.unregister(runtime.shutdown)


def _hello(options: InitOptions, namespace: str) -> m.Hello:
    main_path = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    return m.Hello(
        __version__,
        os.getpid(),
        namespace,
        os.path.basename(main_path),
        options.log_to_driver,
        [entry or os.getcwd() for entry in sys.path],
        os.getcwd(),
        "ray" in sys.modules and getattr(sys.modules["ray"], "__name__", "") == "skate",
        main_path,
    )


def _welcome(channel: Channel) -> tuple[m.Welcome, int]:
    while True:
        received = channel.receive()
        if received is None:
            if not wait_readable(channel.fd, START_TIMEOUT_S):
                raise TimeoutError(f"no answer in {START_TIMEOUT_S:.0f} s")
            continue
        message = m.decode_from_node(received[0])
        if isinstance(message, m.Welcome):
            return message, received[1][0]
        raise ChannelClosed(getattr(message, "reason", f"unexpected {type(message).__name__}"))


def _last_words(session_dir: str) -> str:
    try:
        with open(os.path.join(session_dir, "logs", "node.log")) as log:
            return log.read()[-2000:]
    except OSError as error:
        return str(error)
