"""Owns the settings of blocks that train in turns with one shared decoder; their docstrings are the help."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """How blocks of anchors take turns (--field anchors): what one learns of the decoder serves all."""

    accumulate: int | None = None
    """Blocks that each step of the decoder hears, at most all of them; as many as there are workers by default. The
    scene depends on it, and not on the number of workers."""

    interval: int = 500
    """Longest turn, in iterations; never more than a twentieth of all iterations."""

    weighting: bool = True
    """Give blocks that lag behind the best one more say in the decoder, and longer turns."""

    sigma: float = 10.0
    """Lag in decibels at which weighting takes effect; smaller is stronger."""

    frozen_last_round: bool = True
    """Keep the decoder as it is in the last round, so that all blocks settle for the same one. Without, blocks whose
    turn came early do not know its last steps."""

    offload: Literal["memory", "disk"] = "memory"
    """Where blocks wait for their turn; on disk only those at work are in memory."""

    def __post_init__(self) -> None:
        if self.accumulate is not None and self.accumulate < 1:
            raise SettingsError(f"turns.accumulate is {self.accumulate}; it must be at least 1")
        if self.interval < 1:
            raise SettingsError(f"turns.interval is {self.interval}; it must be at least 1")
        if not self.sigma > 0:
            raise SettingsError(f"turns.sigma is {self.sigma}; it must be positive")
