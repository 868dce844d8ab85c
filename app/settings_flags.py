"""Owns where the settings of a command begin before its flags are read: preset, settings file, an earlier run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

OptionalPath = Annotated[Path | None, arg(metavar="PATH")]
"""A path that need not be given, without `{None}` in the help."""

PRESETS: Mapping[str, Mapping[str, object]] = {
    "fast": {"iterations": 2000, "image_scale": 0.5},
    "default": {},
    "high": {"iterations": 20_000, "checkpoint_every": 2000, "eval_every": 2000},
}
"""What each preset of `scene3d reconstruct` changes."""


def find_flag(words: Sequence[str], *names: str) -> str | None:
    """The last value given to a flag under one of its names, as `--name value` or `--name=value`."""
    value = None
    for index, word in enumerate(words):
        name, equals, rest = word.partition("=")
        if name in names:
            value = rest if equals else next(iter(words[index + 1 : index + 2]), None)
    return value


def find_path(words: Sequence[str], *names: str) -> Path | None:
    """The same as a path."""
    value = find_flag(words, *names)
    return None if value is None else Path(value)
