"""Why something is not done, across processes and nodes: `skate.why`, and what a long `get` prints.

Each step asks who knows: of a task or an object the process whose id its id begins with, of a worker its node and, if it
listens, itself, of an actor the head. The steps are put together by `chains.py`. Asking is bounded in time, and never fails:
what could not be found out is said in words.

A task that waits in `get` has lent its CPU, so it holds up nobody who needs a CPU; but it keeps its GPUs and whatever else it
has asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import convert

from ..exceptions import GetTimeoutError, RayError
from ..wire.cluster import HEAD
from ..wire.labels import describe
from ..wire.messages import Death
from ..wire.reasons import Doing, Holders, Known, Process
from . import endings
from .chains import Chain, Key, Reason, explore
from .reasons import RUNS_ON, WAITS_AT, death_in_words, one_line, why_ref
from .refs import ObjectRef, home_of
from .words import several

if TYPE_CHECKING:
    from .observing import Member, Observer
    from .runtime import ClientRuntime

ASKED_S = 5.0
"""How long whoever asks why waits for it."""
NODES_MAX = 4
"""So many nodes are asked who has what is lacking."""
ID_DIGITS = 32
FIRST = 5
"""So many unfinished tasks of a program are looked at."""

Ask = Callable[[int, str, Any], Any]
"""Ask a node by its number (0: the only one; HEAD: whoever knows actors). Raises `Silent`, or `ValueError`."""


class Silent(Exception):
    """Who was asked has not answered."""


class Asker:
    """Finds the reasons, one step after the other."""

    def __init__(self, ask: Ask, clustered: bool) -> None:
        self.ask = ask
        self.clustered = clustered

    def why(self, key: Key) -> Reason:
        """Why one thing is not done. Never raises: what is not known is said."""
        kind, ident = key
        steps = {"actor": self._actor, "worker": self._worker}
        try:
            return steps.get(kind, self._task)(ident)
        except (Silent, ValueError, LookupError, RayError) as error:
            text = f"[of {kind} {ident} no more is known: {_says(error)}]"
            return Reason(key, f"{kind} {ident}", text, moves=True, unknown=True)

    # ------------------------------------------------------------ tasks and objects

    def _task(self, ident: str) -> Reason:
        home = self._home(ident)
        if home == HEAD:
            return self._actor(ident)
        said = self._tell(home, "why", {"id": ident}, ident[:16])
        if said is not None:
            return self.of_known(ident, convert(said, Known))
        if not self.clustered and self.ask(HEAD, "actor", {"id": ident}) is not None:
            return self._actor(ident)
        dead = self.ask(home, "deaths", {"key": "task", "value": ident})
        if dead:
            return Reason(("task", ident), f"task {ident}", f"task {ident}: {_died(dead[0])}", done=True)
        return self._ended(home, ident)

    def _ended(self, home: int, ident: str) -> Reason:
        """What nobody waits for."""
        text = endings.of_task(self.ask, home, ident, self.clustered) or endings.of_actor(self.ask, HEAD, home, ident)
        try:
            text = text or endings.of_object(self.ask, home, ident)
        except ValueError:
            text = ""  # of a session that has ended nobody has objects
        if text:
            return Reason(("task", ident), ident, text, done=True)
        text = f"{ident} is not known: it was an object that only its maker knew of, has ended long ago, or never was"
        return Reason(("task", ident), ident, text, done=True, unknown=True)

    def of_known(self, ident: str, known: Known) -> Reason:
        """The reason, from what the process says that has submitted it."""
        key = ("task", known.task_id or ident)
        reason = Reason(key, known.name or known.text, known.text, done=known.done)
        if known.name and known.task_id:
            reason.subject = f"{known.name} ({known.task_id})"
        if known.done:
            return reason
        if known.waits:
            reason.next = [("object", each) for each in known.waits if each != ident or not known.name]
            if known.waits == [ident]:  # this process has only the reference: its maker knows
                return self._task(ident)
        elif known.needs:
            self._needs(reason, known.needs, known.crew)
        elif known.actor:
            self._call(reason, known)
        elif known.pid:
            self._runs(reason, known, known.node, known.pid)
        return reason

    def _call(self, reason: Reason, known: Known) -> None:
        """A call waits for its actor, or for what that is doing."""
        state = self.ask(HEAD, "actor", {"id": known.actor})
        if state is None or state["state"] != "alive":
            reason.next = [("actor", known.actor)]
            return
        runs = self._runs(reason, known, state["node"], state["pid"])
        if runs is None and state["concurrent"]:
            reason.moves = True  # it may begin beside the others

    def _runs(self, reason: Reason, known: Known, node: int, pid: int) -> Doing | None:
        """What the worker does that has a task; None if it does not say that it runs this one."""
        if self.clustered and node:
            reason.text += f" of node {node}"
        process = self._process(node, pid)
        if process is None:
            reason.text += ", which has just ended"
            return None
        doings = self._doings(node, process, known.task_id)
        mine = next((doing for doing in doings if doing.task_id == known.task_id), None)
        seconds = mine.seconds if mine is not None else 0.0 if doings else known.seconds
        if seconds:
            reason.text += f" for {seconds:.1f} s"
        if mine is not None:
            reason.text = _but(reason.text, known.how, RUNS_ON)  # beside those that were sent before
            _waits(reason, mine)
        elif doings:
            reason.text = _but(reason.text, RUNS_ON, WAITS_AT) if known.how == RUNS_ON else reason.text
            names = ", ".join(doing.name for doing in doings[:3])
            reason.text += f", which runs {names}"
            reason.next = [("task", doing.task_id) for doing in doings]
            reason.any = True
        return mine

    # ------------------------------------------------------------ resources

    def _needs(self, reason: Reason, needs: dict[str, float], crew: str) -> None:
        """Something waits for resources: which, and who has them; or for a worker, where there is room."""
        said = self.ask(0, "why", needs)
        reason.text += f"; {said['text']}"
        if said["room"] is not None:
            reason.text += f": {self.ask(said['room'], 'starting', {'crew': crew})}"
        held: list[str] = []
        reason.any = True
        nodes = said["nodes"]
        for node in nodes[:NODES_MAX]:
            found = convert(self.ask(node, "holders", needs), Holders)
            names = self._names(node, found.processes)
            held += [_holder(each, names.get(each.pid, ""), node, self.clustered) for each in found.processes]
            reason.next += [("worker", f"{node}:{each.pid}") for each in found.processes]
            more = found.count - len(found.processes)
            if more:
                held.append(f"{more} more")
            if found.free or more or not found.processes:  # there may be a way out that is not followed
                reason.moves = True
        reason.moves |= len(nodes) > NODES_MAX or not nodes
        if held:
            reason.text += f"; held by {', '.join(held)}"

    def _names(self, node: int, processes: list[Process]) -> dict[int, str]:
        """What the tasks are called that run in these processes, as those say who have submitted them."""
        names: dict[int, str] = {}
        for lessee in sorted({each.lessee for each in processes if each.lessee}):
            pids = [each.pid for each in processes if each.lessee == lessee]
            try:
                said = self._tell(self._home(lessee), "runs", {"node": node, "pids": pids}, lessee)
            except Silent:
                continue  # they are shown without names
            names |= {int(pid): name.split()[0] for pid, name in (said or {}).items()}
        return names

    def _worker(self, place: str) -> Reason:
        """A process that holds something: it lets go when what it runs is over."""
        number, _, pid = place.partition(":")
        node, key = int(number), ("worker", place)
        process = self._process(node, int(pid))
        if process is None:
            dead = self.ask(node, "deaths", {"key": "pid", "value": int(pid)})
            return self._program(node, pid) if not dead else Reason(key, f"process {pid}", _died(dead[0]), done=True)
        doings = self._doings(node, process)
        name = self._names(node, [process]).get(process.pid, "")
        if process.actor and not doings:
            name = self._called(node, process)
        reason = Reason(key, f"process {pid}", f"{_who(process, name)} {_state(process, name, doings)}")
        if doings:
            first = doings[0]
            reason.key = ("task", first.task_id)
            reason.subject = f"{first.name} ({first.task_id})"
            if first.seconds:
                reason.text += f" for {first.seconds:.1f} s"
            _waits(reason, first)
            reason.moves |= len(doings) > 1
        return reason

    def _called(self, node: int, process: Process) -> str:
        """What an actor runs that does not say it, as far as its callers on its node know."""
        question = {"what": "runs", "argument": {"node": node, "pids": [process.pid]}}
        said = self.ask(node, "tell", question)
        names = [
            each["value"][str(process.pid)].split()[0] for each in said if str(process.pid) in (each["value"] or {})
        ]
        return " or ".join(dict.fromkeys(names))

    def _program(self, node: int, pid: str) -> Reason:
        """A driver: its first unfinished tasks say what it waits for."""
        key, who = ("worker", f"{node}:{pid}"), f"process {pid}"
        where = f" of node {node}" if self.clustered else ""
        found = [row for row in self.ask(node, "list_workers", {}) if row["pid"] == int(pid)]
        if not found:
            return Reason(key, who, f"{who}{where} is no worker and no program", done=True, unknown=True)
        told = self._tell(node, "tasks", {"limit": FIRST}, found[0]["worker_id"]) or {"count": 0, "tasks": []}
        text = f"program of job {found[0]['job_id']} ({who}{where}) has {several(told['count'], 'unfinished task')}"
        # it may wait for none of them, or do something else
        return Reason(key, who, text, [("task", each["task_id"]) for each in told["tasks"]], any=True, moves=True)

    # ------------------------------------------------------------ actors

    def _actor(self, ident: str) -> Reason:
        state = self.ask(HEAD, "actor", {"id": ident})
        key = ("actor", ident)
        if state is None:
            text = endings.of_actor(self.ask, HEAD, 0, ident)
            unknown = f"actor {ident} is not known here: it has ended long ago, or never was"
            return Reason(key, f"actor {ident}", text or unknown, done=True, unknown=not text)
        name = _actor_name(state)
        reason = Reason(key, f"actor {name}", f"actor {name} is {state['state']}")
        if state["restarts"]:
            reason.text += f" after {state['restarts']} restart{'s' * (state['restarts'] != 1)}"
        if state["state"] == "dead":
            reason.done = True
            reason.text += f": {_actor_end(state)}"
        elif state["state"] in ("pending", "restarting"):
            reason.text += f": it needs {describe(state['needs'])}" if state["needs"] else ""
            if state["nowhere"]:
                reason.text += f"; {state['nowhere']}"
                reason.moves = True  # a node may join
                return reason
            self._needs(reason, state["needs"], state["crew"])
        elif state["pid"]:
            self._alive(reason, state)
        return reason

    def _alive(self, reason: Reason, state: dict[str, Any]) -> None:
        where = f" on node {state['node']}" if self.clustered else ""
        init = ": its __init__ runs" if state["state"] == "starting" else ""
        reason.text += f" in process {state['pid']}{where}{init}"
        process = self._process(state["node"], state["pid"])
        doings = [] if process is None else self._doings(state["node"], process)
        if doings:
            reason.text += f", and runs {', '.join(doing.name for doing in doings[:3])}"
            reason.next = [("task", doing.task_id) for doing in doings]
            reason.any = True

    # ------------------------------------------------------------ asking

    def _home(self, ident: str) -> int:
        return home_of(bytes.fromhex(ident)) if self.clustered else 0

    def _process(self, node: int, pid: int) -> Process | None:
        found = self.ask(node, "process", {"pid": pid})
        return None if found is None else convert(found, Process)

    def _doings(self, node: int, process: Process, first: str = "") -> list[Doing]:
        """What a worker says that it runs, this before others; nothing if it does not listen while it works."""
        said = self._tell(node, "doing", {"first": first}, process.client) if process.heard else None
        return [] if said is None else convert(said["running"], list[Doing])

    def _tell(self, node: int, what: str, argument: Any, client: str) -> Any:
        """Ask a driver or worker of a node; None if it is not there."""
        said = self.ask(node, "tell", {"what": what, "argument": argument, "clients": [client]})
        if not said:
            return None
        if said[0]["error"]:
            raise Silent(f"process {said[0]['pid']}: {said[0]['error']}")
        return said[0]["value"]


# ------------------------------------------------------------ words


def _says(error: Exception) -> str:
    return str(error) if isinstance(error, Silent) else one_line(error)


def _but(text: str, how: str, better: str) -> str:
    """A text with better words for how it is."""
    return text.replace(f" {how} ", f" {better} ", 1) if how else text


def _waits(reason: Reason, doing: Doing) -> None:
    """Something runs, and waits for others meanwhile."""
    if not doing.waits:
        return
    count = len(doing.waits)
    reason.text += f", and waits for {'one of ' if doing.enough else ''}{count} object{'s' * (count != 1)}"
    reason.next = [("object", each) for each in doing.waits]
    reason.any = bool(doing.enough)
    reason.moves = doing.gives_up


def _who(process: Process, name: str) -> str:
    if process.actor:
        called = f" '{process.name}'" if process.name else ""
        return f"actor {process.class_name}{called} (pid {process.pid})"
    return f"{name or 'a worker'} (pid {process.pid})"


def _holder(process: Process, name: str, node: int, clustered: bool) -> str:
    where = f" on node {node}" if clustered else ""
    since = f" for {process.seconds:.0f} s" if process.seconds else ""
    return f"{_who(process, name)}{where}{since}"


def _state(process: Process, name: str, doings: list[Doing]) -> str:
    if doings:
        return f"runs {doings[0].name}"
    if process.actor:
        return f"runs {name}" if name else "lives"
    return "runs" if name else f"is {process.state}"


def _actor_name(state: dict[str, Any]) -> str:
    called = f" '{state['name']}'" if state["name"] else ""
    return f"{state['class_name']}{called} ({state['actor_id']})"


def _actor_end(state: dict[str, Any]) -> str:
    if state["error"]:
        return f"its __init__ raised: {one_line(state['error'])}"
    return "it has ended" if state["death"] is None else death_in_words(convert(state["death"], Death))


def _died(dead: dict[str, Any]) -> str:
    """How a worker ended, as its node tells it."""
    who = f"actor {dead['class_name']}" if dead["actor"] else "a worker"
    return (
        f"{who}, process {dead['pid']}, died {endings.ago(dead['at'])}: {death_in_words(convert(dead['death'], Death))}"
    )


# ------------------------------------------------------------ ways to ask


def chain_of(observer: Observer, what: str, numbers: dict[int, Member]) -> Chain:
    """Why something is not done, for whoever looks at a cluster.

    Args:
        observer: the way to its nodes.
        what: the id of a task, object or actor, in hexadecimal, or the process id of a worker, perhaps as "NODE:PID".
        numbers: the nodes that live, by number; 0: there is no cluster.
    """
    clustered = 0 not in numbers
    until = time.monotonic() + ASKED_S
    first = next(iter(numbers))

    def ask(node: int, question: str, argument: Any) -> Any:
        try:
            if node == HEAD:
                return observer.ask_head(question, argument)
            member = numbers.get(node if clustered and node else first)
            if member is None:
                raise Silent(f"node {node} is gone")
            return observer.ask(member, question, argument)
        except ConnectionError as error:
            raise Silent(str(error)) from None

    asker = Asker(ask, clustered)
    what = str(what)  # an id may be of a class of ours
    key = ("task", what)
    if len(what) != ID_DIGITS:
        node, _, pid = what.rpartition(":")
        key = ("worker", f"{node or _node_of(ask, numbers, int(pid))}:{pid}")
    return explore(key, asker.why, lambda: time.monotonic() < until)


def _node_of(ask: Ask, numbers: dict[int, Any], pid: int) -> int:
    """The node on which a process is, or was, a worker or a program."""

    def lives(number: int) -> bool:
        is_worker = ask(number, "process", {"pid": pid}) is not None
        return is_worker or any(row["pid"] == pid for row in ask(number, "list_workers", {}))

    def died(number: int) -> bool:
        return bool(ask(number, "deaths", {"key": "pid", "value": pid}))

    for so in (lives, died):
        for number in numbers:
            try:
                if so(number):
                    return number
            except Silent:
                continue
    return min(numbers)


def of_runtime(runtime: ClientRuntime, what: ObjectRef[Any] | str, seconds: float) -> str:
    """Why something is not done, for this process: bounded in time, and never an error."""
    until = time.monotonic() + seconds

    def ask(node: int, question: str, argument: Any) -> Any:
        left = until - time.monotonic()
        if runtime.closed:
            raise Silent("skate was shut down")
        if left <= 0:
            raise Silent("there was no time to ask on")
        with runtime.lock:
            links = runtime.links
            if node not in (0, HEAD) and links.death(node) is not None:
                raise Silent(f"node {node} is gone")
            link = links.head if node == HEAD else links.to(node)
        try:
            return link.ask(question, argument, left)
        except GetTimeoutError:
            where = "the head" if node == HEAD else f"node {node}" if runtime.node_no else "the node process"
            raise Silent(f"{where} has not answered") from None

    asker = Asker(ask, bool(runtime.node_no))

    def why(key: Key) -> Reason:
        if isinstance(what, str) or key != ("object", what.hex()):
            return asker.why(key)
        with runtime.lock:
            known = why_ref(runtime, what)
        try:
            return asker.of_known(what.hex(), known)
        except (Silent, ValueError, LookupError, RayError) as error:
            return Reason(key, known.name, f"{known.text} [{_says(error)}]", moves=True)

    start = ("task", what) if isinstance(what, str) else ("object", what.hex())
    return str(explore(start, why, lambda: time.monotonic() < until))
