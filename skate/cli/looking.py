"""What commands share that look at a cluster or program that runs, or at a session that has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..client import observing, sessions
from ..exceptions import RayError

if TYPE_CHECKING:
    from ..client.finding import Thing


@contextmanager
def explained() -> Iterator[None]:
    """What cannot be had is an error, with the exit code 1."""
    try:
        yield
    except (ConnectionError, ValueError, RayError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def checked() -> Iterator[None]:
    """What no cluster could have is wrong use, with the exit code 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def asked_for(address: str | None) -> str | None:
    """The address that is meant: one that was said, else that of the environment; None: whatever runs here."""
    address = address or observing.environment_address()
    return None if address in ("auto", "local") else address


def note_others(address: str | None, temp_dir: str | None) -> None:
    """When nobody has said which cluster, and several of this user run here, say which one is shown."""
    known = list(dict.fromkeys(each.address for each in sessions.running(temp_dir)))
    if asked_for(address) is None and len(known) > 1:
        note([f"{len(known)} clusters of yours run here: this is {known[0]}; --address {known[1]} is another"])


def look(
    address: str | None, temp_dir: str | None, session: str | None = None, answer_s: float | None = None
) -> observing.Observer:
    """What is to be looked at, by asking nodes that may take so long to answer; None: as long as is usual.

    Raises:
        click.ClickException: there is none, or it does not answer.
    """
    if session is not None and (address is not None or answer_s is not None):
        other = "--timeout" if address is None else "--address"
        raise click.UsageError(f"--session is about the past, {other} about the present")
    with explained(), checked():
        if session is not None:
            from ..client import past  # it needs sqlite3, and few commands need it

            found_past = past.find(session, temp_dir)
            return past.PastObserver(found_past, past.fellows(found_past, temp_dir))
        try:
            found = observing.observe(address, temp_dir, observing.ANSWER_S if answer_s is None else answer_s)
        except ConnectionError as error:
            from ..client import past

            if asked_for(address) is None and past.sessions(temp_dir):
                known = "session" in click.get_current_context().params
                how = "--session last" if known else "`skate list KIND --session last`"
                raise ConnectionError(f"{error}; {how} is about what has run here before") from None
            raise
    if observing.address_of(found) is not None:
        note_others(address, temp_dir)
    return found


class Explained:
    """An `Observer` that says on stderr whom it asks for what, and how long that takes."""

    def __init__(self, observer: observing.Observer) -> None:
        self._observer = observer

    def nodes(self) -> list[dict[str, Any]]:
        """See `Observer`."""
        return list(self._timed("which nodes there are", self._observer.nodes))

    def ask(self, member: observing.Member, what: str, argument: Any = None) -> Any:
        """See `Observer`."""
        return self._timed(f"{member}: {_question(what, argument)}", lambda: self._observer.ask(member, what, argument))

    def ask_head(self, what: str, argument: Any = None) -> Any:
        """See `Observer`."""
        return self._timed(f"the head: {_question(what, argument)}", lambda: self._observer.ask_head(what, argument))

    def _timed(self, what: str, ask: Callable[[], Any]) -> Any:
        begin, how = time.monotonic(), "failed"
        try:
            found = ask()
            how = "answered"
            return found
        finally:  # why it has failed is said by whoever has asked
            click.echo(f"asked {what}: {how} after {1000 * (time.monotonic() - begin):.1f} ms", err=True)


def _question(what: str, argument: Any) -> str:
    return f"its processes for {argument['what']}" if what == "tell" else what


def meant(observer: observing.Observer, text: str, kinds: Sequence[str], **how: Any) -> Thing:
    """The thing of these kinds that somebody means; see `finding.py`, also for `how`.

    Raises:
        click.ClickException: there is none, or several.
    """
    from ..client.finding import find

    missing: list[str] = []
    with explained():
        found = find(observer, text, kinds, missing, **how)
    note(missing)
    if found is None:
        raise click.ClickException(f"{text!r} is not among the {' and '.join(kinds)} that are known")
    return found


def members(observer: observing.Observer) -> list[observing.Member]:
    """The nodes that live.

    Raises:
        click.ClickException: nobody answers.
    """
    with explained():
        return observing.members(observer)


def note(missing: Sequence[str]) -> None:
    """Say of whom nothing is known."""
    for each in missing:
        click.echo(f"note: {each}", err=True)


def node_of(members: list[observing.Member], wanted: str) -> observing.Member:
    """A node by its number, its name, or the beginning of its id.

    Raises:
        click.ClickException: there is none, or several.
    """
    found = [each for each in members if wanted in (str(each.no), each.name)]
    found = found or [each for each in members if wanted and each.id.startswith(wanted)]
    if len(found) != 1:
        known = ", ".join(f"{each.no} ({each.name})" for each in members)
        count = f"{len(found)} nodes" if found else "no node"
        raise click.ClickException(f"{count} of this cluster can be meant by {wanted!r}; there are {known}")
    return found[0]
