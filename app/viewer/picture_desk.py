"""Owns how many pictures wait at a time: a crowd that looks must not keep others from opening the page."""

from collections.abc import Callable

import anyio.to_thread
from anyio import CapacityLimiter

from app.viewer.frames import Picture
from scene3d.errors import LimitExceeded

MAX_DRAWING = 2
"""One is rendered, one is encoded."""

MAX_WAITING = 16


class PictureDesk:
    """Draws pictures in threads of its own, so that those that serve the page stay free."""

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None
        self._waiting = 0

    async def draw(self, make: Callable[[], Picture | None]) -> Picture | None:
        """The picture that `make` draws, when it is its turn.

        Raises:
            LimitExceeded: Too many are waiting already.
        """
        if self._waiting >= MAX_WAITING:
            remedy = "wait a moment and move again"
            raise LimitExceeded("too many pictures are asked for at this moment", remedy=remedy)
        if self._limiter is None:
            self._limiter = CapacityLimiter(MAX_DRAWING)
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(make, limiter=self._limiter)
        finally:
            self._waiting -= 1
