"""Owns the generator of scene blocks: it fills cells of a canvas so that they continue what is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from scene3d.errors import InputError, MissingPart
from scene3d.events import Quiet, Reporter
from scene3d.generation.denoiser import Condition
from scene3d.generation.detail import DetailLayer, check_fine_shape, read_residuals
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.layout import layout_shares
from scene3d.generation.merging import Canvas, make_window_weights
from scene3d.generation.model import Model, make_model, model_from_tensors
from scene3d.generation.model_files import PACKAGED, read_model
from scene3d.generation.sampling import Guide, Settled, draw_codes, draw_codes_published
from scene3d.generation.spec import NUM_PLANES, GeneratorSpec, ModelConfig
from scene3d.generation.strips import continue_known, find_settled
from scene3d.generation.voxel_tensors import (
    field_from_values,
    mask_tensor,
    tensor_from_values,
    values_from_field,
    values_from_tensor,
)
from scene3d.generation.wavefront import Cell, plan_batches
from scene3d.geometry.voxels import VoxelField
from scene3d.seeding import make_generator


class Generator:
    """Draws blocks of a scene that fit what is known around them."""

    def __init__(self, model: Model, weights_sha256: str) -> None:
        self.model, self.weights_sha256 = model, weights_sha256
        self.num_evaluations = 0
        """Calls of the denoiser since it was made, each for a whole batch."""
        self.num_detail_read, self.num_detail_voxels = 0, 0
        """Finer voxels whose field was read since it was made, and those that the blocks have."""
        for network in (model.autoencoder, model.denoiser):
            network.eval().requires_grad_(False)

    @property
    def spec(self) -> GeneratorSpec:
        """What its blocks are."""
        return self.model.config.spec

    @classmethod
    def load(cls, path: Path | None = None) -> "Generator":
        """A trained generator; without a path the one that comes with the program.

        Raises:
            InputError: The files are damaged or of another layout.
            MissingPart: The program came without one.
        """
        if path is None and not PACKAGED.is_file():
            raise MissingPart("no trained generator came with this program", remedy="train one: train-generator")
        file = read_model(path or PACKAGED)
        return cls(model_from_tensors(file.config, file.tensors, where=str(path or PACKAGED)), file.sha256)

    @classmethod
    def untrained(cls, config: ModelConfig, seed: int = 0) -> "Generator":
        """One with random weights: it shows how things go together, not what a place looks like."""
        return cls(make_model(config, seed), f"untrained-{seed}")

    def grow(
        self,
        known: VoxelField,
        cells: Sequence[Cell],
        settings: GrowSettings,
        *,
        layout: Int[np.ndarray, "x y"] | None = None,
        reporter: Reporter | None = None,
    ) -> VoxelField:
        """Fill cells of a canvas.

        Args:
            known: The canvas, block_voxels high; cell (i, j) is the window of block_voxels^2 columns whose first is
                column (i * stride, j * stride). What is known may have any shape.
            cells: The cells to fill, in any order: the result is the same.
            settings: How.
            layout: Class id of each column of the canvas, -1 where nothing is asked for.
            reporter: Told about each cell.

        Returns:
            The same canvas with the cells' windows filled; known voxels keep their values. With detail the voxels are
            finer, and between the centres of known voxels values are trilinear.

        Raises:
            InputError: The canvas, a cell or the layout does not fit.
            LimitExceeded: The finer voxels are too many.
        """
        spec, reporter = self.spec, reporter or Quiet()
        check_request(spec, known, cells, layout)
        values = values_from_field(known, spec)
        weights = make_window_weights(spec.block_voxels, spec.block_voxels - spec.stride_voxels)
        canvas, layer = Canvas(values, known.known, weights), self._make_layer(known, settings.detail)
        share = {cell: float(known.known[window_of(spec, cell)].mean()) for cell in cells}
        share = {cell: part for cell, part in share.items() if part < 1.0}  # nothing to do where everything is known
        reach = -(-spec.block_voxels // spec.stride_voxels)
        reporter.start("grow", len(share))
        done = 0
        with torch.no_grad():
            for batch in plan_batches(list(share), share, reach=reach, batch=settings.batch):
                self._fill(canvas, layer, batch, settings, layout)
                done += len(batch)
                reporter.advance("grow", done)
        reporter.finish("grow")
        merged, filled = canvas.merge(spec.block_voxels - spec.stride_voxels)
        field = field_from_values(merged, filled, known, spec)
        if layer is None:
            return field
        return layer.added_to(field, known.known, unit=spec.truncation_voxels * known.voxel_size)

    def _make_layer(self, known: VoxelField, detail: int) -> DetailLayer | None:
        if detail == 1:
            return None
        check_fine_shape(known.shape, detail)
        side, overlap = self.spec.block_voxels, self.spec.block_voxels - self.spec.stride_voxels
        return DetailLayer(known.shape, detail, make_window_weights(side * detail, overlap * detail))

    def _fill(
        self,
        canvas: Canvas,
        layer: DetailLayer | None,
        batch: list[Cell],
        settings: GrowSettings,
        layout: Int[np.ndarray, "x y"] | None,
    ) -> None:
        """Draw the blocks of some cells that do not overlap, and put them in."""
        stride = self.spec.stride_voxels
        windows = [canvas.window(i * stride, j * stride) for i, j in batch]
        values = np.stack([part for part, _ in windows])
        seen = np.stack([part for _, part in windows])
        if settings.mode == "independent":
            seen = np.zeros_like(seen)
        shares = np.stack([self._layout_of(cell, layout) for cell in batch])
        codes = self.draw_block_codes(values, seen, shares, settings, [f"cell {i} {j}" for i, j in batch])
        for (i, j), block in zip(batch, self.decode(codes), strict=True):
            canvas.add(i * stride, j * stride, block)
        if layer is not None:
            for (i, j), residual in zip(batch, self._read_detail(codes, layer.detail), strict=True):
                layer.add(i * stride, j * stride, residual)

    def _read_detail(self, codes: Float[Tensor, "b 3 z s s"], detail: int) -> Float32[np.ndarray, "b u u u 4"]:
        network = self.model.autoencoder
        residuals, num_read = read_residuals(network, network.decode(codes), detail)
        self.num_detail_read += num_read
        self.num_detail_voxels += residuals[:, 0].numel()
        return values_from_tensor(residuals)

    def draw_blocks(
        self,
        values: Float32[np.ndarray, "b k k k 4"],
        known: Bool[np.ndarray, "b k k k"],
        layout: Float32[np.ndarray, "b n s s"],
        settings: GrowSettings,
        streams: Sequence[str],
    ) -> Float32[np.ndarray, "b k k k 4"]:
        """Voxels of blocks that continue what is known of them; see `draw_block_codes`."""
        return self.decode(self.draw_block_codes(values, known, layout, settings, streams))

    def draw_block_codes(
        self,
        values: Float32[np.ndarray, "b k k k 4"],
        known: Bool[np.ndarray, "b k k k"],
        layout: Float32[np.ndarray, "b n s s"],
        settings: GrowSettings,
        streams: Sequence[str],
    ) -> Float[Tensor, "b 3 z s s"]:
        """Codes, not normalised, of blocks that continue what is known of them; see `voxel_tensors` for the values.

        Args:
            values: Voxels in the world's axes: distance over truncation, and colour.
            known: Which of them are known [b, k, k, k].
            layout: Shares of the classes, in the block's axes.
            settings: How.
            streams: Name of each block's randomness.
        """
        generators = [make_generator(settings.seed, stream) for stream in streams]
        shape = (NUM_PLANES, self.model.config.sizes.code_channels, self.spec.code_side, self.spec.code_side)
        noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
        guide = self._make_guide(values, known, layout, settings)
        settled = None if settings.mode == "independent" else self._settle(values, known)
        if settings.mode == "published" and settled is not None:
            codes = draw_codes_published(guide, noise, settled, settings, generators)
        else:
            codes = draw_codes(guide, noise, steps=settings.steps, settled=settled)
        self.num_evaluations += guide.num_evaluations
        return self.model.denormalise(codes)

    def decode(self, codes: Float[Tensor, "b 3 z s s"]) -> Float32[np.ndarray, "b k k k 4"]:
        """Voxels, in the world's axes, of codes that are not normalised."""
        network = self.model.autoencoder
        found = network.query_grid(network.decode(codes), self.spec.block_voxels)
        return values_from_tensor(torch.cat([found.tsdf[:, None], found.rgb.movedim(-1, 1)], dim=1))

    def encode(self, values: Float32[np.ndarray, "b k k k 4"]) -> Float[Tensor, "b 3 z s s"]:
        """Codes, not normalised, of voxels in the world's axes."""
        return self.model.autoencoder.encode(tensor_from_values(values)).mean

    def _make_guide(self, values: np.ndarray, known: np.ndarray, layout: np.ndarray, settings: GrowSettings) -> Guide:
        seen = known if settings.mode == "geometry+strips" else np.zeros_like(known)
        mask = mask_tensor(seen).float()[:, None]
        condition = self.model.denoiser.condition(tensor_from_values(values), mask, torch.from_numpy(layout))
        bare = Condition(condition.geometry, torch.zeros_like(condition.layout))
        without = None if settings.guidance == 1.0 or not layout.any() else bare
        return Guide(self.model.denoiser, condition, without_layout=without, guidance=settings.guidance)

    def _settle(self, values: np.ndarray, known: np.ndarray) -> Settled | None:
        """Codes of what is known, where a pixel's whole slab is."""
        mask = find_settled(mask_tensor(known))
        if not mask.any():
            return None
        whole = np.stack([continue_known(part, seen) for part, seen in zip(values, known, strict=True)])
        return Settled(self.model.normalise(self.encode(whole)), mask)

    def _layout_of(self, cell: Cell, layout: Int[np.ndarray, "x y"] | None) -> Float32[np.ndarray, "n s s"]:
        spec = self.spec
        if layout is None:
            return np.zeros((len(spec.classes), spec.code_side, spec.code_side), np.float32)
        return layout_shares(layout[window_of(spec, cell)], len(spec.classes))


def window_of(spec: GeneratorSpec, cell: Cell) -> tuple[slice, slice]:
    """Columns of a canvas that a cell stands on."""
    x, y = cell[0] * spec.stride_voxels, cell[1] * spec.stride_voxels
    return slice(x, x + spec.block_voxels), slice(y, y + spec.block_voxels)


def make_canvas(spec: GeneratorSpec, cells: tuple[int, int], *, voxel_size: float | None = None) -> VoxelField:
    """A canvas for a grid of cells of which nothing is known yet; the ground is at height 0."""
    size = spec.voxel_m if voxel_size is None else voxel_size
    x, y = ((count - 1) * spec.stride_voxels + spec.block_voxels for count in cells)
    shape = (x, y, spec.block_voxels)
    return VoxelField(
        sdf=np.full(shape, spec.truncation_voxels * size, np.float32),
        rgb=np.zeros((*shape, 3), np.float32),
        known=np.zeros(shape, bool),
        origin=np.array([0.0, 0.0, spec.height_range[0] * spec.block_voxels * size]),
        voxel_size=size,
        truncation=spec.truncation_voxels * size,
    )


def check_request(
    spec: GeneratorSpec, known: VoxelField, cells: Sequence[Cell], layout: Int[np.ndarray, "x y"] | None
) -> None:
    """Raise where a canvas, its cells or its layout do not fit a generator."""
    x, y, z = known.shape
    if z != spec.block_voxels:
        raise InputError(f"the canvas is {z} voxels high, and the generator's blocks are {spec.block_voxels}")
    for i, j in cells:
        columns, rows = window_of(spec, (i, j))
        if min(i, j) < 0 or columns.stop > x or rows.stop > y:
            raise InputError(f"the window of cell ({i}, {j}) lies outside the canvas of {x} by {y} columns")
    if layout is not None and layout.shape != (x, y):
        raise InputError(f"the layout has {layout.shape} columns and the canvas {(x, y)}")
    if layout is not None and (layout.min() < -1 or layout.max() >= len(spec.classes)):
        raise InputError(f"the layout holds classes outside -1 to {len(spec.classes) - 1}")
