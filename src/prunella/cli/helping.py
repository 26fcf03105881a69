"""Help as plain text: the same on a terminal and in a pipe, whole at 80 columns."""

from __future__ import annotations

import importlib
from typing import Any, final

import typer
from typer.core import TyperCommand, TyperGroup

from prunella.cli.commands import SUMMARIES
from prunella.cli.interrupts import importing


class Command(TyperCommand):
    """Lists the options in sections, what they can name, and the examples as they were written."""

    named: dict[str, dict[str, str]] | None = None  # title -> name -> what it is

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands after the name of the command in the line on its usage."""
        names = [_label(p) for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *names]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each help panel, arguments first, in order of appearance."""
        sections: dict[str, list[tuple[str, str]]] = {}
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                sections.setdefault("Arguments", []).append(
                    (_label(parameter), parameter.help or "")
                )
                continue
            name = getattr(parameter, "rich_help_panel", None) or "Options"
            sections.setdefault(name, []).append(record)
        alone = sections.pop("Options", [])  # --help has no section of its own
        last = next(reversed(sections), "Options")
        sections.setdefault(last, []).extend(alone)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)
        for title, rows in (self.named or {}).items():
            with formatter.section(title):
                formatter.write_dl(list(rows.items()))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples; commands are never wrapped, so that they can be copied."""
        del ctx
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"  {line}\n" if line else "\n")


@final
class Group(TyperGroup):
    """Knows the commands by name, and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: Any = dict.fromkeys(SUMMARIES)  # the names are all that typer itself looks at
        self.commands = names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None; this imports what it needs, torch above all."""
        del ctx
        if cmd_name not in SUMMARIES:
            return None
        with importing():
            module = importlib.import_module(f"prunella.cli.commands.{cmd_name}")
        alone = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        alone.command(cmd_name, cls=Command, epilog=module.EXAMPLES)(getattr(module, cmd_name))
        command: Any = typer.main.get_command(alone)
        command.named = getattr(module, "NAMED", None)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of the commands, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


def examples(*paragraphs: str) -> str:
    """An epilog of paragraphs whose lines are kept as they are."""
    return "\n".join(paragraphs)


def _label(argument: Any) -> str:
    name = str(argument.metavar or argument.name).upper()
    return name if argument.required else f"[{name}]"
