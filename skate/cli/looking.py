"""What commands share that look at a running cluster or program."""

from __future__ import annotations

import click

from ..client import observing
from ..exceptions import AuthenticationError


def look(address: str | None, temp_dir: str | None) -> observing.Observer:
    """The cluster or program to look at.

    Raises:
        click.ClickException: there is none, or it does not answer.
    """
    try:
        return observing.observe(address, temp_dir)
    except (ConnectionError, AuthenticationError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def members(observer: observing.Observer) -> list[observing.Member]:
    """The nodes that live.

    Raises:
        click.ClickException: nobody answers.
    """
    try:
        return observing.members(observer)
    except (ConnectionError, AuthenticationError) as error:
        raise click.ClickException(str(error)) from None


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
