"""Owns photographs in training: decoded when needed, a little ahead of time, within a memory budget."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.data.capture import View
from scene3d.data.photos import Photo, read_photo
from scene3d.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingImage:
    """One photograph as training compares with it."""

    image: Float[Tensor, "h w 3"]
    """RGB, 0..1; a fresh tensor each time."""

    mask: Bool[Tensor, "h w"] | None
    """True where the pixel counts; None when all do. Shared between calls: not to be written to."""

    camera: Camera
    """The pinhole camera at the image's size."""

    name: str


class ImageLoader:
    """Loads views by index; safe to use from several threads.

    Decoded images are kept in 8 bits; the least recently used go first when the budget is full. What a call returns
    does not depend on the budget, on prefetching or on timing. Beside the budget each worker and each waiting caller
    holds one image while decoding it.

    Args:
        views: The views, in the order of the indices.
        image_scale: Size of the loaded images as a share of the views' size.
        memory_bytes: Most bytes kept in decoded images; an image larger than that is never kept.
        workers: Threads that decode ahead of use.
    """

    def __init__(
        self, views: Sequence[View], *, image_scale: float = 1.0, memory_bytes: int = 2 << 30, workers: int = 1
    ) -> None:
        if not 0 < image_scale <= 1:
            raise SettingsError(f"image_scale is {image_scale}; it lies above 0 and up to 1")
        if memory_bytes < 0 or workers < 1:
            raise SettingsError(f"{memory_bytes} bytes and {workers} workers; at least 0 and 1 are needed")
        self._views = tuple(views)
        self._image_scale = image_scale
        self._memory_bytes = memory_bytes
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="photo")
        self._lock = Lock()
        self._kept: OrderedDict[int, Photo] = OrderedDict()
        self._kept_bytes = 0
        self._coming: dict[int, Future[Photo]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._views)

    @property
    def cached_bytes(self) -> int:
        """Bytes of the decoded images kept now; never above the budget."""
        return self._kept_bytes

    def view_name(self, index: int) -> str:
        """Name of a view in its capture."""
        return self._views[index].name

    def load(self, index: int) -> TrainingImage:
        """The image of a view, at once if it is kept.

        Raises:
            InputError: The photograph cannot be used; names the view. The loader goes on working.
        """
        photo = self._find(index) or self._decode(index)
        mask = None if photo.mask is None else torch.from_numpy(photo.mask)
        image = torch.from_numpy(photo.image).to(torch.float32).div_(255)
        return TrainingImage(image=image, mask=mask, camera=photo.camera, name=self._views[index].name)

    def prefetch(self, indices: Iterable[int]) -> None:
        """Begins to decode the views that are needed next, in this order, as many as fit the budget together.

        A new call replaces what an earlier one asked for and has not begun. Errors wait until `load`.
        """
        with self._lock:
            if self._closed:
                return
            wanted = self._fitting(indices)
            for index in [index for index, future in self._coming.items() if index not in wanted and future.cancel()]:
                del self._coming[index]
            for index in wanted:
                if index in self._kept:
                    # Now recently used: the ones decoded meanwhile must not push it out.
                    self._kept.move_to_end(index)
                elif index not in self._coming:
                    self._coming[index] = self._executor.submit(self._decode, index)

    def close(self) -> None:
        """Ends the threads and forgets all images; loading still works, one at a time."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._coming.clear()
            self._kept.clear()
            self._kept_bytes = 0

    def __enter__(self) -> "ImageLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, index: int) -> Photo | None:
        """A kept image, or one that a worker is decoding; None if the caller must decode it."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            future = self._coming.get(index)
            if future is None or future.cancel():
                self._coming.pop(index, None)
                return None
        return future.result()

    def _decode(self, index: int) -> Photo:
        try:
            photo = read_photo(self._views[index], self._image_scale)
            self._keep(index, photo)
            return photo
        finally:
            with self._lock:
                self._coming.pop(index, None)

    def _keep(self, index: int, photo: Photo) -> None:
        size = _size_bytes(photo)
        with self._lock:
            if self._closed or index in self._kept or size > self._memory_bytes:
                return
            while self._kept_bytes + size > self._memory_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= _size_bytes(oldest)
            self._kept[index] = photo
            self._kept_bytes += size

    def _fitting(self, indices: Iterable[int]) -> list[int]:
        """The first of these views that fit the budget together, each once."""
        fitting: list[int] = []
        total = 0
        for index in dict.fromkeys(indices):
            camera = self._views[index].camera.scaled(self._image_scale)
            total += camera.width * camera.height * 4  # three colours and a mask
            if total > self._memory_bytes:
                break
            fitting.append(index)
        return fitting


def _size_bytes(photo: Photo) -> int:
    return photo.image.nbytes + (0 if photo.mask is None else photo.mask.nbytes)
