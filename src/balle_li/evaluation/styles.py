"""How the models of a plot look, so that readers tell them apart: in the pictures, and in the comparison's page."""

from dataclasses import dataclass

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#882255", "#332288", "#999933", "#7f4f24",
)  # fmt: skip
"""Told apart by colour-blind readers too: Okabe & Ito (2008), then some of Paul Tol's."""
MARKS = ("circle", "square", "triangle", "diamond", "cross")


@dataclass(frozen=True)
class Style:
    """One model's look. `dashed`: its line, from the second turn of the colours on."""

    colour: str
    mark: str
    dashed: bool


def style(index: int) -> Style:
    """The look of the index-th model; the first fifty differ, and of the first ten each has a colour of its own."""
    turn, place = divmod(index, len(COLOURS))
    return Style(COLOURS[place], MARKS[(place + turn) % len(MARKS)], turn % 2 == 1)
