"""The list of commands: by topic, with whole sentences."""

from __future__ import annotations

from collections.abc import Mapping

import click

TOPICS: dict[str, tuple[str, ...]] = {
    "Run programs": ("run", "job"),
    "Look at a cluster": ("status", "health-check", "top", "list", "get", "summary", "memory", "dashboard"),
    "Find out why": ("why", "stack", "logs", "events", "timeline", "history"),
    "Nodes and tools": ("start", "stop", "drain-node", "metrics", "completion"),
}


class Group(click.Group):
    """A group whose `--help` has the first sentence of each command as a whole, over several lines if need be."""

    topics: Mapping[str, tuple[str, ...]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by topic."""
        shown = {name for names in self.topics.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in shown)
        for topic, names in {**self.topics, "Commands": others}.items():
            commands = [command for name in names if (command := self.get_command(ctx, name)) is not None]
            if commands:
                with formatter.section(topic):
                    formatter.write_dl([(each.name or "", _sentence(each)) for each in commands])


class ByTopic(Group):
    """The command itself."""

    topics = TOPICS


def _sentence(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())
