"""Owns the anchor field in training: anchors with their optimiser, decoded by a decoder that others may share."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.gaussians.anchor_baking import bake_anchors
from scene3d.gaussians.anchors import Anchors, decode_anchors, find_in_view, view_directions
from scene3d.gaussians.decoder import Decoded
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import NEAR_PLANE
from scene3d.training.adam import RowAdam
from scene3d.training.anchor_density import AnchorRound, AnchorStatistics, plan_round
from scene3d.training.distillation import distillation_loss
from scene3d.training.field import DensityReport, Drawn, Region, find_nonfinite_rows
from scene3d.training.schedules import anchor_rates
from scene3d.training.settings import ReconstructSettings
from scene3d.training.shared_decoder import SharedDecoder

PARAMETERS = ("features", "offsets", "log_scales")
"""What is private to an anchor and trained; positions stay where they are."""


class AnchorField:
    """Anchors as rows; the decoder is lent, never stepped and never saved here (Lu et al. 2024, Scaffold-GS).

    Only anchors near a camera's view are decoded for it: the others could not change a pixel.
    """

    def __init__(self, anchors: Anchors, shared: SharedDecoder, *, voxel: float, sh_degree: int = 0) -> None:
        """Starts from anchors made for the decoder's shape.

        Args:
            anchors: Of any origin.
            shared: Decoder and teacher.
            voxel: Side of the voxels that growth goes by, world units.
            sh_degree: Degree of colour in use.
        """
        self.shared = shared
        self.voxel = voxel
        self._sh_degree = sh_degree
        self._set(anchors)
        self.adam = RowAdam(self.parameters)
        self.statistics = AnchorStatistics.zeros(len(self), anchors.num_offsets, anchors.positions.device)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.positions.device

    @property
    def num_gaussians(self) -> int:
        """Gaussians of all anchors."""
        return self.anchors().num_gaussians

    @property
    def sh_degree(self) -> int:
        """Degree of view-dependent colour in use; the view mode emits plain colours."""
        return self._sh_degree if self.shared.student.shape.mode == "static" else 0

    def raise_sh_degree(self, sh_degree: int) -> None:
        """Uses a higher degree from now on, as far as the decoder goes; does nothing for a lower one."""
        self._sh_degree = max(self._sh_degree, min(sh_degree, self.shared.student.shape.sh_degree))

    def anchors(self) -> Anchors:
        """The parameters themselves: gradients flow back to them."""
        return Anchors(positions=self.positions, **self.parameters)

    def gaussians(self, camera: Camera) -> Gaussians:
        """All Gaussians as a camera sees them, k for each anchor."""
        return decode_anchors(self.anchors(), self.shared.student, camera, sh_degree=self.sh_degree)[0]

    def draw(self, camera: Camera) -> Drawn:
        """The Gaussians of the anchors near a camera's view, and how far the decoder is from its teacher there."""
        anchors = self.anchors()
        rows = find_in_view(anchors.detach(), camera, near=NEAR_PLANE)
        if len(rows) == 0:
            rows = torch.zeros(1, dtype=torch.int64, device=self.device)
        near = anchors.select(rows)
        gaussians, decoded = decode_anchors(near, self.shared.student, camera, sh_degree=self.sh_degree)
        distillation = self._distil(near.detach(), decoded, camera) if self.shared.teaches else None
        return Drawn(gaussians=gaussians, rows=rows, distillation=distillation)

    def baked(self, sh_degree: int, cameras: Sequence[Camera] = ()) -> Gaussians:
        """All Gaussians as a standard set, in the order of `gaussians`; the view mode needs the training cameras."""
        return bake_anchors(self.anchors(), self.shared.student, sh_degree, cameras)

    def centers(self) -> Float[Tensor, "n 3"]:
        """Positions of the anchors."""
        return self.positions

    def observe(self, drawn: Drawn, norms: Float[Tensor, "g"], visible: Bool[Tensor, "g"]) -> None:
        """Gathers screen gradients and opacities for the next density round."""
        assert drawn.rows is not None, "anchors are drawn by rows"
        self.statistics.observe(drawn.rows, norms, visible, drawn.gaussians.opacities.detach())

    def step(
        self,
        drawn: Drawn,
        visible: Bool[Tensor, "g"],
        settings: ReconstructSettings,
        *,
        held: Bool[Tensor, "n"] | None = None,
        iteration: int,
        scene_scale: float,
    ) -> None:
        """One Adam step of the anchors with a visible Gaussian that are not held."""
        assert drawn.rows is not None, "anchors are drawn by rows"
        moved = torch.zeros(len(self), dtype=torch.bool, device=self.device)
        moved[drawn.rows] = visible.reshape(len(drawn.rows), -1).any(1)
        if held is not None:
            moved &= ~held
        self.adam.step(self.parameters, anchor_rates(settings, iteration), moved)
        for value in self.parameters.values():
            value.grad = None

    def change_density(
        self,
        settings: ReconstructSettings,
        *,
        scene_scale: float,
        generator: torch.Generator,
        region: Region | None = None,
    ) -> DensityReport:
        """One round of growing and pruning anchors; starts new statistics."""
        anchors = self.anchors().detach()
        plan = AnchorRound(settings=settings, voxel=self.voxel, scene_scale=scene_scale, region=region)
        keep, grown = plan_round(anchors, self.statistics, plan, generator)
        index = torch.cat([keep.nonzero()[:, 0], torch.zeros(len(grown), dtype=torch.int64, device=self.device)])
        fresh = torch.arange(len(index), device=self.device) >= len(index) - len(grown)
        num_pruned = len(self) - int(keep.sum())
        self._set(Anchors.concatenate([anchors.select(keep), grown]))
        self.adam.take(index, fresh)
        self.statistics = AnchorStatistics.zeros(len(self), anchors.num_offsets, self.device)
        return DensityReport(cloned=len(grown), split=0, pruned=num_pruned)

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes; the shared decoder is its owner's to save."""
        state = {f"field.{name}": value.detach().clone() for name, value in self.parameters.items()}
        state["field.positions"] = self.positions.clone()
        state["field.voxel"] = torch.tensor(self.voxel, dtype=torch.float64)
        state["field.sh_degree"] = torch.tensor(self._sh_degree)
        return {**state, **self.adam.capture(), **self.statistics.capture()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Becomes the field that `capture` described, bit for bit; the decoder in use stays."""
        device = self.device
        names = ("positions", *PARAMETERS)
        self._set(Anchors(**{name: tensors[f"field.{name}"].to(device) for name in names}))
        self.voxel = float(tensors["field.voxel"])
        self._sh_degree = int(tensors["field.sh_degree"])
        self.adam = RowAdam(self.parameters)
        self.adam.restore(tensors)
        self.statistics = AnchorStatistics.restore(tensors, device)

    def find_nonfinite(self) -> Float[Tensor, "n"] | None:
        """Number of values that are not finite in each anchor, or None when all are finite."""
        return find_nonfinite_rows(self.parameters)

    def _distil(self, anchors: Anchors, decoded: Decoded, camera: Camera) -> Float[Tensor, ""]:
        shared = self.shared
        directions = view_directions(anchors, camera)
        assert directions is not None
        with torch.no_grad():
            taught = shared.teacher(anchors.features, directions, sh_degree=self.sh_degree)
        return shared.distill_weight * distillation_loss(decoded, taught, directions)

    def _set(self, anchors: Anchors) -> None:
        self.positions: Float[Tensor, "n 3"] = anchors.positions.detach().clone()
        self.parameters: dict[str, Tensor] = {
            name: getattr(anchors, name).detach().clone().contiguous().requires_grad_() for name in PARAMETERS
        }
