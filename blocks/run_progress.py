"""Owns how work on blocks is reported: as one stage of the whole run."""

from scene3d.events import Figure, Quiet, Reporter


class BlockProgress:
    """Passes the progress of one block on as progress of the whole run, so that the time left is the run's."""

    def __init__(self, reporter: Reporter, stage: str, num_blocks: int, iterations: int) -> None:
        self._reporter = reporter
        self._stage = stage
        self._num_blocks = num_blocks
        self._iterations = iterations
        self._place = -1

    def enter(self, place: int) -> None:
        """The block at this place of the order begins, or is found finished."""
        if self._place < 0:
            self._reporter.start(self._stage, self._num_blocks * self._iterations, step=place * self._iterations)
        self._place = place

    def close(self) -> None:
        """The last block is done."""
        self._reporter.finish(self._stage, block=f"{self._num_blocks} of {self._num_blocks}")

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        """A stage within a block is none of the run's."""

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        """The current block stands at `step`."""
        done = self._place * self._iterations + step
        self._reporter.advance(self._stage, done, block=f"{self._place + 1} of {self._num_blocks}", **figures)

    def finish(self, stage: str, **figures: Figure) -> None:
        """A stage within a block is none of the run's."""

    def note(self, message: str, *, level: str = "info") -> None:
        """Passes a line on."""
        self._reporter.note(message, level=level)


class OnlyNotes(Quiet):
    """Passes lines for the person on, and no progress.

    Args:
        reporter: Gets them.
        subject: What they are about, in front of each line.
    """

    def __init__(self, reporter: Reporter, subject: str = "") -> None:
        self._reporter = reporter
        self._subject = f"{subject}: " if subject else ""

    def note(self, message: str, *, level: str = "info") -> None:
        """Passes a line on."""
        self._reporter.note(f"{self._subject}{message}", level=level)
