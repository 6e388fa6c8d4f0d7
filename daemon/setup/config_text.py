"""Changes values in the text of config.yaml, and keeps its comments."""

import re
from collections.abc import Mapping

import yaml

Place = tuple[str | int, ...]
"""Keys from the outside in; a number is an index of a list."""


def with_values(text: str, values: Mapping[Place, object]) -> str:
    """Return the text with other values. A comment after a value keeps its column if it can.

    Raises KeyError for a place that the text does not have.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    nodes = {place: _node_at(root, place) for place in values}
    # From the last to the first, so that the positions before stay true.
    for place in sorted(nodes, key=lambda one: -nodes[one].start_mark.index):
        start, end = nodes[place].start_mark.index, nodes[place].end_mark.index
        new, rest = _as_yaml(values[place]), text[end:]
        comment = re.match(r" +(?=#)", rest)
        if comment:
            width = len(comment.group()) + (end - start) - len(new)
            rest = " " * max(width, 1) + rest[comment.end() :]
        text = text[:start] + new + rest
    return text


def with_peer(text: str, peer: Mapping[str, object]) -> str:
    """Return the text with a further peer, after the last one and the comments inside it."""
    root = yaml.compose(text, yaml.SafeLoader)
    last = _node_at(root, ("peers",))
    while isinstance(last, yaml.CollectionNode):
        item = last.value[-1]
        last = item[1] if isinstance(item, tuple) else item
    lines = text.splitlines(keepends=True)
    line = last.end_mark.line + 1
    while line < len(lines) and re.match(r"\s+#", lines[line]):
        line += 1
    keys = [f"{key}: {_as_yaml(value)}\n" for key, value in peer.items()]
    block = [f"  - {keys[0]}", *(f"    {key}" for key in keys[1:])]
    return "".join([*lines[:line], *block, *lines[line:]])


def _node_at(node: yaml.Node | None, place: Place) -> yaml.Node:
    for part in place:
        if isinstance(node, yaml.MappingNode):
            node = {key.value: value for key, value in node.value}[part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        else:
            raise KeyError(place)
    if node is None:
        raise KeyError(place)
    return node


def _as_yaml(value: object) -> str:
    """Return a value as YAML in one line."""
    listed = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)
    return listed.strip()[1:-1]
