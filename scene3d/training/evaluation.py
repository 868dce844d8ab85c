"""Owns measuring a scene against held-out photographs: figures, pictures, and the metrics file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.errors import SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import write_json
from scene3d.io.images import write_image
from scene3d.lpips import Lpips, LpipsNet
from scene3d.lpips.network import MIN_SIDE_PX
from scene3d.metrics import color_correct, psnr_db, ssim
from scene3d.render import Rendering, render_view
from scene3d.training.metrics_record import (
    MIN_REGION_SHARE,
    EvaluationResult,
    Quality,
    RegionQuality,
    RunFacts,
    ViewQuality,
    summarise,
)
from scene3d.video import colorize

ERROR_SHOWN = 0.25
"""Mean absolute error of a pixel that gets the brightest colour of the error map."""
RegionFinder = Callable[[Camera, Tensor, Tensor], Mapping[str, Tensor]]
"""From a camera and its rendered depth and alpha [h, w] to named masks [h, w]: pixels to be measured by themselves."""

_PICTURE_NAME = re.compile(r"^\d{3}_.*\.png$")


@runtime_checkable
class PhotoSource(Protocol):
    """What evaluation needs of an image loader."""

    def load(self, index: int) -> TrainingImage:
        """Photograph, mask and scaled camera of one view."""

    def prefetch(self, indices: Iterable[int]) -> None:
        """These views will be loaded next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How held-out views are measured."""

    lpips_net: LpipsNet = "alex"
    """Backbone of LPIPS: figures of different ones cannot be compared."""

    lpips_weights: Path | None = None
    """File or folder with LPIPS weights; else SCENE3D_WEIGHTS and the user cache are looked at."""

    background: Literal["black", "white"] = "black"
    """What stands behind the scene; the same as in training."""

    max_pictures: int = 32
    """At most this many views are saved as pictures, the worst first."""

    backend: Literal["auto", "cpu", "reference", "gsplat"] = "auto"
    """Rasterizer; `scene3d doctor` lists them."""

    def __post_init__(self) -> None:
        if self.max_pictures < 0:
            raise SettingsError(f"max_pictures is {self.max_pictures}; it must be zero or more")


def evaluate_views(
    gaussians: Gaussians,
    photos: PhotoSource,
    indices: Sequence[int],
    settings: EvaluationSettings,
    facts: RunFacts,
    *,
    regions: RegionFinder | None = None,
    output: Path | None = None,
    reporter: Reporter | None = None,
) -> EvaluationResult:
    """Measure a scene on views that training never saw, without any exposure of their own.

    Args:
        gaussians: In the frame of the photographs' cameras.
        photos: Where photographs come from.
        indices: Held-out views; none gives a record whose figures are all null, with the reason.
        regions: Tells pixels apart by what is rendered there; their raw figures join the record under the regions'
            names.
        output: Gets `metrics.json` and `renders/`; nothing is written if not given.

    Raises:
        InputError: `settings.lpips_weights` is given and cannot be used.
    """
    reporter = reporter or Quiet()
    lpips, lpips_reason = Lpips.load(settings.lpips_net, settings.lpips_weights)
    reporter.start("evaluate", len(indices))
    views: list[tuple[int, ViewQuality]] = []
    for step, index in enumerate(indices):
        photos.prefetch(indices[step + 1 : step + 3])
        views.append((index, measure_view(gaussians, photos.load(index), settings, lpips, regions)))
        reporter.advance("evaluate", step + 1, psnr_db=views[-1][1].raw.psnr_db)
    views.sort(key=lambda pair: (pair[1].raw.psnr_db is not None, pair[1].raw.psnr_db or 0.0, pair[1].name))
    per_view = [view for _, view in views]
    if output is not None:
        worst = [index for index, _ in views[: settings.max_pictures]]
        pictures = write_pictures(gaussians, photos, worst, output / "renders", settings)
        for place, picture in enumerate(pictures):
            per_view[place] = replace(per_view[place], picture=picture)
    result = summarise(
        per_view,
        facts,
        num_gaussians=len(gaussians),
        lpips_net=settings.lpips_net,
        background=settings.background,
        lpips_reason=lpips_reason,
    )
    if output is not None:
        write_json(output / "metrics.json", result.record)
    reporter.finish("evaluate", psnr_db=result.raw.psnr_db, ssim=result.raw.ssim, lpips=result.raw.lpips)
    return result


@torch.no_grad()
def measure_view(
    gaussians: Gaussians,
    photo: TrainingImage,
    settings: EvaluationSettings,
    lpips: Lpips | None,
    regions: RegionFinder | None = None,
) -> ViewQuality:
    """Raw and colour-corrected figures of one view, and the raw ones of its regions."""
    rendering = _render(gaussians, photo, settings)
    image = rendering.image
    used_share = 1.0 if photo.mask is None else float(photo.mask.float().mean())
    usable = used_share > 0 and bool(image.isfinite().all())
    raw = corrected = Quality()
    by_region: dict[str, RegionQuality] = {}
    if usable:
        raw = _measure(image, photo, lpips)
        corrected = _measure(color_correct(image, photo.image, photo.mask), photo, lpips)
        masks = {} if regions is None else regions(photo.camera, rendering.depth, rendering.alpha)
        by_region = {name: _measure_region(image, photo, mask, lpips) for name, mask in masks.items()}
    height, width = photo.image.shape[:2]
    return ViewQuality(
        name=photo.name,
        width=width,
        height=height,
        used_share=used_share,
        raw=raw,
        corrected=corrected,
        regions=by_region,
    )


def write_pictures(
    gaussians: Gaussians,
    photos: PhotoSource,
    indices: Sequence[int],
    folder: Path,
    settings: EvaluationSettings,
) -> list[str]:
    """One PNG per view: photograph, rendering, error map; numbered in the order given.

    Pictures of an earlier evaluation in this folder are removed.

    Returns:
        Paths relative to the folder above.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for rank, index in enumerate(indices):
        photo = photos.load(index)
        with torch.no_grad():
            image = _render(gaussians, photo, settings).image
        names.append(f"{rank:03d}_{safe_name(photo.name)}.png")
        write_image(folder / names[-1], side_by_side(photo, image.nan_to_num(0.0)))
    for path in folder.iterdir():
        if _PICTURE_NAME.match(path.name) and path.name not in names:
            path.unlink()
    return [f"{folder.name}/{name}" for name in names]


def side_by_side(photo: TrainingImage, image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w3 3"]:
    """Photograph, rendering and error map in one picture; masked-out pixels are dimmed and have no error."""
    error = (image - photo.image).abs().mean(dim=2)
    shown = photo.image
    if photo.mask is not None:
        error = error * photo.mask
        shown = torch.where(photo.mask[:, :, None], shown, 0.3 * shown)
    return torch.cat([shown, image, colorize(error, low=0.0, high=ERROR_SHOWN)], dim=1)


def safe_name(name: str) -> str:
    """A view's name as a file name: only letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:]


def _render(gaussians: Gaussians, photo: TrainingImage, settings: EvaluationSettings) -> Rendering:
    """Image clamped to 0..1, alpha and depth, where the photograph is."""
    background = gaussians.means.new_full((3,), 1.0 if settings.background == "white" else 0.0)
    backend = None if settings.backend == "auto" else settings.backend
    rendering = render_view(gaussians, photo.camera, background=background, backend=backend)
    image, device = rendering.image.clamp(0, 1), photo.image.device
    return Rendering(image=image.to(device), alpha=rendering.alpha.to(device), depth=rendering.depth.to(device))


def _measure_region(
    image: Float[Tensor, "h w 3"], photo: TrainingImage, region: Bool[Tensor, "h w"], lpips: Lpips | None
) -> RegionQuality:
    """Figures of the region's pixels, as if the photograph's mask had left out all others."""
    usable = torch.ones_like(region) if photo.mask is None else photo.mask
    inside = region.to(usable.device) & usable
    quality = Quality()
    if int(inside.sum()) >= max(1, MIN_REGION_SHARE * int(usable.sum())):
        quality = _measure(image, replace(photo, mask=inside), lpips)
    return RegionQuality(**asdict(quality), used_share=float(inside.float().mean()))


def _measure(image: Float[Tensor, "h w 3"], photo: TrainingImage, lpips: Lpips | None) -> Quality:
    distance = None
    if lpips is not None and min(image.shape[:2]) >= MIN_SIDE_PX[lpips.net]:
        # LPIPS looks at neighbourhoods, so masked-out pixels are made equal instead of left out.
        compared = image if photo.mask is None else torch.where(photo.mask[:, :, None], image, photo.image)
        distance = lpips.distance(compared, photo.image)
    return Quality(
        psnr_db=psnr_db(image, photo.image, photo.mask), ssim=ssim(image, photo.image, photo.mask), lpips=distance
    )
