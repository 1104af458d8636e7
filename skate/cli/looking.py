"""What commands share that look at a cluster or program that runs, or at a session that has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from ..client import observing, past
from ..exceptions import RayError


@contextmanager
def explained() -> Iterator[None]:
    """What cannot be had is an error of one line."""
    try:
        yield
    except (ConnectionError, ValueError, RayError) as error:
        raise click.ClickException(str(error)) from None


def look(
    address: str | None, temp_dir: str | None, session: str | None = None, answer_s: float = observing.ANSWER_S
) -> observing.Observer:
    """What is to be looked at, by asking nodes that may take so long to answer.

    Raises:
        click.ClickException: there is none, or it does not answer.
    """
    if session is not None and address is not None:
        raise click.UsageError("--session is about the past, --address about the present")
    with explained():
        if session is not None:
            return past.PastObserver(past.find(session, temp_dir))
        return observing.observe(address, temp_dir, answer_s)


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
        raise click.ClickException(f"{len(found) or 'no'} nodes of this cluster are {wanted!r}")
    return found[0]
