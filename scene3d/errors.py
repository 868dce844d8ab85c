"""Owns the errors a person can meet: each says what is wrong, where, and what to do, and carries its exit code."""

from pathlib import Path
from typing import ClassVar


class Scene3dError(Exception):
    """Base of every error this program raises on purpose.

    Args:
        what: What was found and what was expected, in one line.
        where: The file, folder, view or setting it concerns.
        remedy: What the person can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        return line if self.remedy is None else f"{line}; {self.remedy}"


class SettingsError(Scene3dError):
    """A flag or configuration value that makes no sense."""

    exit_code = 2


class InputError(Scene3dError):
    """A file or folder given by the person cannot be used."""

    exit_code = 4


class LimitExceeded(Scene3dError):
    """Something would need more memory, disk or time than it may have."""

    exit_code = 5


class Diverged(Scene3dError):
    """Training left the finite numbers and rolling back did not help."""

    exit_code = 5


class MissingPart(Scene3dError):
    """An optional package, tool or file is not there."""

    exit_code = 6
