"""Owns blocks that wait for their turn: their states in memory or on disk, bit for bit, and the run's snapshots.

A snapshot is a checkpoint of what the blocks share, whose record names the file and hash of each block's state. Files
of blocks are written before it and deleted only when two newer snapshots exist, so that at any moment the last one is
whole.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from blocks.weighting import Quality
from scene3d.errors import InputError
from scene3d.io.atomic import make_folder
from scene3d.io.checkpoint import load_checkpoint, save_checkpoint
from scene3d.io.tensors import read_tensors, write_tensors
from scene3d.training.hooks import TrainingState

SNAPSHOTS, STATES = "rounds", "blocks"
"""Folders of a run's turns: what is shared after each round, and what each block is then."""

KEPT_ROUNDS = 2
"""Snapshots on disk, and states of each block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockState:
    """Where a block stands, and where its tensors are."""

    iteration: int = 0
    round: int = 0
    """Rounds that were over when its file was written."""

    sha256: str | None = None
    """Of its file; None where it never began."""

    trainer: Mapping[str, Any] | None = None
    """Plain values of the trainer's state."""

    quality: Quality | None = None
    failure: str | None = None
    """Why it takes no further part."""

    peak_memory_bytes: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "BlockState":
        """The state that a record tells of."""
        quality = record["quality"]
        return cls(**{**record, "quality": None if quality is None else Quality(**quality)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A run between two rounds."""

    round: int
    """Rounds that are done."""

    turns: int
    """Turns that are done."""

    blocks: Mapping[str, BlockState]
    """By block id."""

    shared: Mapping[str, Tensor]
    """The decoder, its moments and its teacher."""


class WaitingRoom:
    """Keeps the states of blocks between their turns.

    Every state is on disk, for the snapshot; with `offload` memory it is kept in memory as well, where the process
    that trained the block last finds it again.

    Args:
        folder: Of all states; on a cluster every worker sees the same one.
        offload: Whether states are kept in memory.
    """

    def __init__(self, folder: Path, offload: Literal["memory", "disk"]) -> None:
        self._folder = folder
        self._offload = offload
        self._kept: dict[str, tuple[str, dict[str, Tensor]]] = {}
        self._coming: dict[str, tuple[str, Future[dict[str, Tensor]]]] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="waiting")

    def put(self, block_id: str, state: TrainingState, before: BlockState, number: int) -> BlockState:
        """Keep a block's state.

        Args:
            block_id: Of the block.
            state: Its tensors, which nobody changes any more, and plain values.
            before: Where it stood.
            number: Rounds that are over with its turn.
        """
        tensors, record = state
        path = self._path(block_id, number)
        make_folder(path.parent)
        sha256 = write_tensors(path, tensors)
        if self._offload == "memory":
            self._kept[block_id] = sha256, {name: tensor.cpu() for name, tensor in tensors.items()}
        return replace(before, iteration=int(record["iteration"]), round=number, sha256=sha256, trainer=record)

    def take(self, block_id: str, state: BlockState) -> TrainingState:
        """The state of a block whose turn it is; the caller may change its tensors.

        Raises:
            InputError: Its file is missing or damaged.
        """
        assert state.sha256 is not None, "a block that never began has no state"
        assert state.trainer is not None, "a state has both parts"
        sha256, kept = self._kept.pop(block_id, (None, {}))
        if sha256 == state.sha256:
            return kept, dict(state.trainer)
        sha256, coming = self._coming.pop(block_id, (None, None))
        if coming is not None and sha256 == state.sha256:
            return coming.result(), dict(state.trainer)
        return self._read(block_id, state), dict(state.trainer)

    def look(self, block_id: str, state: BlockState) -> TrainingState | None:
        """The state as it was put last, read from disk; None where the block never began."""
        return None if state.sha256 is None else (self._read(block_id, state), dict(state.trainer or {}))

    def drop(self, block_id: str) -> None:
        """Forget what is in memory of a block that goes on without having left."""
        self._kept.pop(block_id, None)

    def prefetch(self, block_id: str, state: BlockState) -> None:
        """Begin to read what will be taken next; errors wait until then."""
        kept = self._kept.get(block_id)
        if state.sha256 is None or (kept is not None and kept[0] == state.sha256) or block_id in self._coming:
            return
        self._coming[block_id] = state.sha256, self._reader.submit(self._read, block_id, state)

    def forget_rounds(self, block_id: str, state: BlockState) -> None:
        """Delete the states of a block that no kept snapshot names any more."""
        for path in (self._folder / block_id).glob("round_*.safetensors"):
            number = path.stem.removeprefix("round_")
            if number.isdecimal() and int(number) <= state.round - KEPT_ROUNDS:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the reading ahead."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _read(self, block_id: str, state: BlockState) -> dict[str, Tensor]:
        return read_block_tensors(self._folder, block_id, state)

    def _path(self, block_id: str, number: int) -> Path:
        return _path_of(self._folder, block_id, number)


def read_block_tensors(folder: Path, block_id: str, state: BlockState) -> dict[str, Tensor]:
    """The tensors of a block that has begun, as it was put last.

    Raises:
        InputError: Its file is missing or damaged.
    """
    assert state.sha256 is not None, "a block that never began has no file"
    return read_tensors(_path_of(folder, block_id, state.round), expected_sha256=state.sha256)


def save_snapshot(folder: Path, snapshot: Snapshot, identity: str) -> None:
    """Write a snapshot whole, or not at all.

    Args:
        folder: Of the snapshots.
        snapshot: The files of its blocks are written already.
        identity: Hash of everything that must be the same for the run to go on.
    """
    record = {
        "identity": identity,
        "round": snapshot.round,
        "turns": snapshot.turns,
        "blocks": {block_id: state.to_record() for block_id, state in snapshot.blocks.items()},
    }
    save_checkpoint(folder, snapshot.shared, record, keep=KEPT_ROUNDS)


def load_snapshot(folder: Path, identity: str | None) -> Snapshot | None:
    """The last snapshot that is whole; None where there never was one.

    Args:
        folder: Of the snapshots.
        identity: As it was saved with; None for one that is only looked at.

    Raises:
        InputError: It belongs to other settings, another plan or another capture, or none can be used.
    """
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return None
    record = checkpoint.record
    if identity is not None and record.get("identity") != identity:
        raise InputError(
            "the blocks were trained with other settings, another plan or another capture",
            where=folder,
            remedy="resume with the same ones (see config.yaml), or start anew in another folder",
        )
    blocks = {block_id: BlockState.from_record(each) for block_id, each in record["blocks"].items()}
    return Snapshot(round=int(record["round"]), turns=int(record["turns"]), blocks=blocks, shared=checkpoint.tensors)


def _path_of(folder: Path, block_id: str, number: int) -> Path:
    return folder / block_id / f"round_{number:05d}.safetensors"
