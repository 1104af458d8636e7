"""Start of skate on this machine: one node process, and a channel to it.

Nothing listens anywhere: the channel is a socket pair that the node inherits. The node ends when the channel does, so a
killed driver leaves nothing behind.
"""

from __future__ import annotations

import atexit
import functools
import glob
import os
import re
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import BinaryIO

import msgspec

from .. import __version__
from ..exceptions import RaySystemError
from ..store.arena import HEADER_BYTES, PAGE, Arena
from ..wire import messages as m
from ..wire.channel import Channel, ChannelClosed, pair, wait_readable
from . import current, interrupts
from .init_options import InitOptions
from .output import Printer
from .runtime import ClientRuntime

STORE_SHARE = 0.3
"""The share of the machine's memory that objects may take, by default."""
STORE_BYTES_MIN = 75 << 20
START_TIMEOUT_S = 60.0
BOOT = "import sys; sys.path[:] = sys.argv[3].split('\\n'); from skate.node.main import main; main()"


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
        runtime = _greet(channel, options, namespace)
    except (ChannelClosed, TimeoutError) as error:
        channel.close()
        raise ConnectionError(f"the node does not accept this driver: {error}") from None
    _finish(runtime, None)
    if runtime.links.clustered:
        with runtime.lock:
            runtime.links.head.open()  # the head has to know when this driver ends
    return runtime


def _greet(channel: Channel, options: InitOptions, namespace: str) -> ClientRuntime:
    hello = _hello(options, namespace)
    channel.send(m.encode(hello))
    welcome, arena_fd = _welcome(channel)
    runtime = ClientRuntime(channel, welcome, Arena(arena_fd, welcome.arena_bytes), namespace, True)
    runtime.environment = (hello.sys_path, hello.cwd, hello.alias_ray, hello.main_path)
    runtime.log_to_driver = hello.log_to_driver
    return runtime


def open_log(session_dir: str) -> BinaryIO:
    """The log of a session's node, to write."""
    path = os.path.join(session_dir, "logs", "node.log")
    return open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600))


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


def allow_files() -> None:
    """Raise the limit of open files: two for each worker and actor that this process calls are soon more than 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


def make_session_dir(temp_dir: str | None) -> str:
    """A folder that only this user can enter, for logs and sockets; stale ones of ended sessions are removed."""
    base = os.path.join(temp_dir or os.environ.get("SKATE_TEMP_DIR") or tempfile.gettempdir(), f"skate-{os.getuid()}")
    os.makedirs(base, mode=0o700, exist_ok=True)
    status = os.lstat(base)
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or os.path.islink(base):
        raise RaySystemError(
            f"{base} must be a folder of yours with mode 0700; remove it, or give init another _temp_dir"
        )
    _remove_stale(base)
    session = os.path.join(base, f"session-{os.getpid()}-{secrets.token_hex(4)}")
    os.mkdir(session, 0o700)
    os.mkdir(os.path.join(session, "logs"), 0o700)
    return session


def _remove_stale(base: str) -> None:
    """Sessions whose driver and node are both gone were killed: nobody else removes their folders."""
    for name in os.listdir(base):
        parts = name.split("-")
        if len(parts) != 3 or parts[0] != "session" or not parts[1].isdigit():
            continue
        pid = parts[1]
        try:
            with open(os.path.join(base, name, "pid")) as file:  # a standalone node outlives who has started it
                pid = file.read().strip() or pid
        except OSError:
            pass  # it is a driver's
        if not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)


def resources(options: InitOptions) -> tuple[dict[str, float], int]:
    """What the node offers, and the size of its object store in bytes."""
    memory = _machine_memory()
    store = options.object_store_memory or max(STORE_BYTES_MIN, int(memory * STORE_SHARE))
    store = -(-store // PAGE) * PAGE
    cpus = options.num_cpus if options.num_cpus is not None else _cpus()
    total: dict[str, float] = {"CPU": float(cpus)} if cpus else {}
    if options.num_gpus:
        total["GPU"] = float(options.num_gpus)
    total["memory"] = float(options.memory if options.memory is not None else max(0, memory - store))
    total["object_store_memory"] = float(store)
    total["node:127.0.0.1"] = 1.0
    for name, amount in options.resources.items():
        if amount:
            total[name] = float(amount)
    return total, store


def own_labels(options: InitOptions) -> dict[str, str]:
    """The labels that a node gets by itself: the kind of its GPUs, if it has any and the driver says what they are."""
    kinds: set[str] = set()
    for path in glob.glob("/proc/driver/nvidia/gpus/*/information") if options.num_gpus else ():
        try:
            with open(path) as file:
                kinds.update(line.partition(":")[2].strip() for line in file if line.startswith("Model"))
        except OSError:
            continue
    if len(kinds) != 1:
        return {}
    kind = re.sub(r"[^-._a-zA-Z0-9]+", "-", kinds.pop().removeprefix("NVIDIA ")).strip("-._")
    return {"ray.io/accelerator-type": kind, "skate.io/accelerator-type": kind}


def _cpus() -> int:
    cpus = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as limits:
            quota, period = limits.read().split()
        if quota != "max":
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cpus
    return cpus


def _machine_memory() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max") as limits:
            text = limits.read().strip()
        if text != "max":
            memory = min(memory, int(text))
    except (OSError, ValueError):
        return memory
    return memory
