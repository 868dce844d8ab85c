"""Owns the names of layout classes and the colours that stand for them in pictures, outdoors and in rooms."""

from collections.abc import Sequence

from scene3d.world.classes import PALETTE

Color = tuple[int, int, int]

NOTHING_ASKED: Color = (0, 0, 0)
"""Black asks for nothing in every palette."""

ROOM_CLASSES = ("wall", "floor", "bed", "cabinet", "chair", "lighting", "sofa", "stool", "table")
"""Those of BlockFusion's rooms, in its order; the place in this list is the class id."""

_ROOM_COLORS: dict[str, Color] = {
    "floor": (176, 140, 96),
    "bed": (90, 130, 200),
    "cabinet": (120, 72, 40),
    "chair": (232, 140, 40),
    "lighting": (250, 235, 90),
    "sofa": (150, 70, 160),
    "stool": (60, 170, 160),
    "table": (80, 150, 70),
}
_COLORS: dict[str, Color] = {one.name.lower(): color for one, color in PALETTE.items()} | _ROOM_COLORS


def default_classes() -> tuple[str, ...]:
    """Names of the classes of the procedural world, in the order of their ids."""
    return tuple(one.name.lower() for one in PALETTE)


def class_colors(classes: Sequence[str]) -> tuple[Color, ...]:
    """The colour of each class of a list; a class of no known name gets black, which no picture can ask for."""
    return tuple(_COLORS.get(name, NOTHING_ASKED) for name in classes)
