"""Names of classes and the machine ids (MIDs, such as /m/0bt9lr) that the annotations carry."""

import csv
import difflib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balle_li.datasets.open_images import metadata
from balle_li.errors import ConfigError, DatasetError

ENTITY = ("/m/0bl9f", "Entity")  # the hierarchy's root, which is no class


@dataclass(frozen=True)
class Classes:
    """The boxable classes and their hierarchy."""

    names: dict[str, str]  # by MID
    hierarchy: dict[str, Any]  # nodes {LabelName: MID, Subcategory: [...], Part: [...]}

    def mids(self, names: Sequence[str], include_children: bool) -> list[str]:
        """The sorted MIDs of the classes called `names`; with `include_children`, of all classes below them too.

        Below means `Subcategory`: a Man is a Person. `Part` is not followed: a Human hand is no Person.

        Raises ConfigError, with the nearest names: there is no class of this name.
        """
        by_name = {name: mid for mid, name in self.names.items()}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise ConfigError("dataset.open_images.classes: " + "; ".join(_describe(name, by_name) for name in unknown))
        chosen = {by_name[name] for name in names}
        pending = sorted(chosen) if include_children else []
        children = self._children()
        while pending:
            below = children[pending.pop()] - chosen
            chosen |= below
            pending += below
        return sorted(chosen & self.names.keys())

    def _children(self) -> defaultdict[str, set[str]]:
        """The classes right below each; a class may stand at several places of the hierarchy."""
        children: defaultdict[str, set[str]] = defaultdict(set)
        for node in _nodes(self.hierarchy):
            children[node["LabelName"]].update(child["LabelName"] for child in node.get("Subcategory", []))
        return children

    def named_hierarchy(self) -> dict[str, Any]:
        """The hierarchy with names in the place of MIDs, as FiftyOne keeps it."""
        return _named(self.hierarchy, {ENTITY[0]: ENTITY[1], **self.names})


def read(classes: Path, hierarchy: Path) -> Classes:
    """Read the class list (rows of MID and name, no header) and the hierarchy (JSON).

    Raises DatasetError: a file is not what it should be; it is then removed.
    """
    with open(classes, encoding="utf-8", newline="", errors="replace") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != 2 or not row[0].startswith("/") for row in rows):
        metadata.discard(classes)
        raise DatasetError(f"{classes} was not a list of classes and has been removed; run the same command again")
    try:
        tree = json.loads(hierarchy.read_text(encoding="utf-8"))
        parsed = Classes(dict(rows), tree)
        parsed.named_hierarchy()
    except (ValueError, TypeError, KeyError, AttributeError):
        metadata.discard(hierarchy)
        raise DatasetError(
            f"{hierarchy} was not a class hierarchy and has been removed; run the same command again"
        ) from None
    return parsed


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in [*node.get("Subcategory", []), *node.get("Part", [])]:
        yield from _nodes(child)


def _named(node: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    named = dict(node)
    named["LabelName"] = names.get(node["LabelName"], node["LabelName"])
    for key in ("Subcategory", "Part"):
        if key in node:
            named[key] = [_named(child, names) for child in node[key]]
    return named


def _describe(name: str, known: dict[str, str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see the class list of Open Images V7"
    return f"{name!r} is not a boxable class of Open Images: {hint}"
