"""Owns making one coloured mesh of a whole Gaussian scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import orbit_path
from scene3d.errors import InputError, SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.fusion.depth_views import DepthView, render_depth_view
from scene3d.fusion.tsdf import VoxelBox, fuse_depth_views, view_points
from scene3d.gaussians.cleaning import scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.mesh import TriangleMesh

TRUNCATION_VOXELS = 4.0
VOXELS_ALONG = 320
"""Voxels along the longest side of the box, where nobody gives their size."""

BOX_QUANTILE = 0.005
"""Share of the surface at either end of each axis that may lie outside of the box: far things and floaters."""

_SAMPLE_VIEWS = 40
_QUIET = Quiet()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """How a scene becomes a mesh."""

    voxel_size: float | None = None
    """Edge of a voxel, world units; the longest side of the scene in 320 parts if not given."""

    max_views: int = 96
    """Depth maps that are fused, at most."""

    max_side_px: int = 800
    """No depth map is larger."""

    def __post_init__(self) -> None:
        if self.voxel_size is not None and not self.voxel_size > 0:
            raise SettingsError(f"the voxel size is {self.voxel_size}; it must be positive")
        if self.max_views < 2 or self.max_side_px < 16:
            raise SettingsError("a mesh needs at least two views, of at least 16 pixels")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneMesh:
    """A mesh of a scene, and what it was made of."""

    mesh: TriangleMesh
    """World frame."""

    voxel_size: float
    num_views: int
    known_share: float
    """Of the box' voxels near surfaces, those that two views or more spoke of."""


def make_scene_mesh(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    settings: MeshSettings | None = None,
    *,
    reporter: Reporter = _QUIET,
) -> SceneMesh:
    """The surface that depth maps of the scene agree on; open where none looked.

    Args:
        gaussians: World frame.
        cameras: Where to look from: those of the photographs, or `orbit_cameras`.
        settings: How fine.
        reporter: Hears of the progress.

    Raises:
        InputError: The scene shows no solid surface to these cameras.
        LimitExceeded: The voxels are too fine for the scene.
    """
    settings = settings or MeshSettings()
    chosen = [
        camera.scaled(min(1.0, settings.max_side_px / max(camera.width, camera.height)))
        for camera in cameras[:: max(1, -(-len(cameras) // settings.max_views))]
    ]
    box = find_box(gaussians, chosen, settings.voxel_size)
    reporter.start("depth", len(chosen))
    views: list[DepthView] = []
    for step, camera in enumerate(chosen):
        views.append(render_depth_view(gaussians, camera, box.voxel_size))
        reporter.advance("depth", step + 1)
    reporter.finish("depth")
    field = fuse_depth_views(views, box, near_surfaces=True, reporter=reporter)
    mesh = extract_mesh(field)
    if len(mesh.faces) == 0:
        raise InputError("no two views agree on a solid surface", remedy="train longer, or give larger voxels")
    return SceneMesh(mesh=mesh, voxel_size=box.voxel_size, num_views=len(chosen), known_share=float(field.known.mean()))


def find_box(gaussians: Gaussians, cameras: Sequence[Camera], voxel_size: float | None) -> VoxelBox:
    """The box that holds nearly all surface that some cameras see.

    Raises:
        InputError: They see none.
    """
    coarse = scene_radius(gaussians.means) / 20
    samples = [np.zeros((0, 3))]
    for camera in cameras[:: max(1, -(-len(cameras) // _SAMPLE_VIEWS))]:
        small = camera.scaled(min(1.0, 96 / max(camera.width, camera.height)))
        samples.append(view_points(render_depth_view(gaussians, small, coarse)))
    points = np.concatenate(samples)
    if len(points) < 10:
        raise InputError("the scene shows no solid surface to its cameras", remedy="train longer")
    low, high = np.quantile(points, [BOX_QUANTILE, 1 - BOX_QUANTILE], axis=0)
    size = voxel_size or float((high - low).max()) / VOXELS_ALONG
    margin = TRUNCATION_VOXELS * size
    shape = np.ceil((high - low + 2 * margin) / size).astype(int)
    return VoxelBox(
        origin=low - margin,
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        voxel_size=size,
        truncation=TRUNCATION_VOXELS * size,
    )


def orbit_cameras(gaussians: Gaussians, *, num_views: int = 48, side_px: int = 640) -> tuple[Camera, ...]:
    """Cameras around a scene that came without any: two turns, flat and steep, that look at its middle."""
    means = gaussians.means.detach().cpu().double().numpy()
    K = np.array([[side_px, 0.0, side_px / 2], [0.0, side_px, side_px / 2], [0.0, 0.0, 1.0]])
    template = Camera(width=side_px, height=side_px, K=K, cam_from_world=np.eye(4))
    target, radius = np.median(means, axis=0), 2.2 * scene_radius(gaussians.means)
    half = max(num_views // 2, 1)
    flat, steep = (
        orbit_path(template, target=target, radius=radius, elevation_deg=elevation, num_frames=half)
        for elevation in (25.0, 60.0)
    )
    return (*flat, *steep)
