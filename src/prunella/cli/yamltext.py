"""YAML as a configuration needs it: plain values, each name once, nothing that multiplies."""

from __future__ import annotations

from typing import Any, final

import yaml

from prunella.core.words import one_line

_MOST_TEXT = 1 << 18  # characters; YAML is read slowly, and a configuration has some thousand
_MOST_DEPTH = 20


@final
class _Loader(yaml.SafeLoader):
    """Plain values only, without aliases and without names given twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            # A few lines of aliases can stand for more values than any memory holds.
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read; write the value out",
                problem_mark=event.start_mark,
            )
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise yaml.YAMLError(f"nested more than {_MOST_DEPTH} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem="this name is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: no YAML, too long, too deeply nested, or with tags, aliases or a name twice.
    """
    if len(text) > _MOST_TEXT:
        raise ValueError(f"{len(text):,} characters, more than the {_MOST_TEXT:,} that are read")
    try:
        return yaml.load(text, Loader=_Loader)
    except Exception as error:  # values such as the date 2026-02-31 fail in many ways
        raise ValueError(one_line(error)) from None
