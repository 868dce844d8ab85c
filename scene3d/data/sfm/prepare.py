"""Owns `prepare`: a folder of photographs becomes a capture with poses, undistorted images and a report."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from scene3d.data.capture import Finding, Severity
from scene3d.data.sfm.exif import PhotoTags, read_photo_tags
from scene3d.data.sfm.levelling import level_model
from scene3d.data.sfm.process import run_child
from scene3d.data.sfm.settings import PrepareSettings
from scene3d.errors import InputError
from scene3d.events import Quiet, Reporter
from scene3d.io.atomic import write_json
from scene3d.io.images import read_image
from scene3d.limits import IMAGE_SUFFIXES

EXHAUSTIVE_UP_TO = 150
"""Photographs up to which all pairs are compared."""

NUM_NEIGHBOURS = 30
MIN_PHOTOS = 2
FOCAL_TOLERANCE = 0.15
"""Relative difference of calibrated and EXIF focal length that is worth a word."""

_DIRECT_MODES = frozenset({"RGB", "L"})
_PILLOW_ORIENTATION = 0x0112


def prepare_capture(
    photos: Path, output: Path, settings: PrepareSettings, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Finds poses for a folder of photographs and writes `images/`, `sparse/0` and `prepare.json`.

    Args:
        photos: Folder with photographs, searched with its subfolders.
        output: The capture to make; new or empty.
        settings: How to search.
        reporter: Hears of the progress.

    Returns:
        The report, as in `prepare.json`: what registered, errors in pixels, findings.

    Raises:
        InputError: Too few photographs, or none could be placed; nothing is left behind.
        LimitExceeded: The child process was killed for memory.
    """
    reporter = reporter or Quiet()
    tags = read_tags(photos)
    if output.exists() and any(output.iterdir()):
        raise InputError("the output folder is not empty", where=output, remedy="choose another one")
    was_there = output.exists()
    work = output / ".work"
    work.mkdir(parents=True)
    try:
        findings = list(check_photos(tags))
        admitted = stage_photos(photos, work / "photos", tags, reporter)
        job = make_job(work, tags, settings)
        result = run_child(job, work, num_images=len(tags), reporter=reporter)
        report = finish_capture(output, work, tags, admitted, result, settings, findings)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        for name in ("images", "sparse"):
            shutil.rmtree(output / name, ignore_errors=True)
        if not was_there:
            shutil.rmtree(output, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    for finding in report["findings"]:
        reporter.note(
            f"{finding['where']}: {finding['what']}" if finding["where"] else finding["what"], level=finding["severity"]
        )
    return report


def read_tags(photos: Path) -> dict[str, PhotoTags]:
    """EXIF of every photograph, by name relative to the folder.

    Raises:
        InputError: Fewer than two photographs.
    """
    if not photos.is_dir():
        raise InputError("this folder does not exist", where=photos)
    paths = sorted(
        path
        for path in photos.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(photos).parts)
        and "masks" not in path.relative_to(photos).parts[:-1]
    )
    if len(paths) < MIN_PHOTOS:
        raise InputError(
            f"{len(paths)} photographs are too few to find poses",
            where=photos,
            remedy="take photographs that overlap by two thirds, from different places",
        )
    return {path.relative_to(photos).as_posix(): read_photo_tags(path) for path in paths}


def check_photos(tags: dict[str, PhotoTags]) -> Sequence[Finding]:
    """What is worth knowing before an hour of computing."""
    sizes = {(tag.width, tag.height) for tag in tags.values()}
    findings = []
    if len(sizes) > 1:
        findings.append(Finding(severity=Severity.INFO, what=f"{len(sizes)} image sizes; each gets a lens of its own"))
    if not any(tag.focal_px for tag in tags.values()):
        findings.append(
            Finding(
                severity=Severity.WARNING,
                what="no photograph names its focal length; it starts from a guess",
                remedy="use the original files: editing and messengers strip EXIF",
            )
        )
    small = [name for name, tag in tags.items() if min(tag.width, tag.height) < 300]
    if small:
        findings.append(
            Finding(severity=Severity.WARNING, what=f"{len(small)} photographs are under 300 pixels", where=small[0])
        )
    return findings


def stage_photos(photos: Path, staged: Path, tags: dict[str, PhotoTags], reporter: Reporter) -> dict[str, str]:
    """Puts upright RGB photographs under safe names: links where the file can be used as it is, else copies.

    Returns:
        Name in the capture of each photograph, by its name in the folder.
    """
    staged.mkdir()
    reporter.start("stage", len(tags))
    admitted: dict[str, str] = {}
    for number, (name, tag) in enumerate(tags.items()):
        source = photos / name
        direct = tag.format in ("JPEG", "PNG") and tag.orientation == 1 and tag.mode in _DIRECT_MODES
        target_name = name if direct else str(Path(name).with_suffix(".jpg").as_posix())
        if target_name in admitted.values() or (not direct and target_name in tags):
            target_name = f"{Path(name).with_suffix('').as_posix()}_{number:05d}{Path(target_name).suffix}"
        target = staged / target_name
        target.parent.mkdir(parents=True, exist_ok=True)
        if direct:
            _link_or_copy(source, target)
        else:
            _write_upright(source, target)
        admitted[name] = target_name
        reporter.advance("stage", number + 1)
    reporter.finish("stage")
    return admitted


def make_job(work: Path, tags: dict[str, PhotoTags], settings: PrepareSettings) -> dict[str, Any]:
    """What the child process is told."""
    return {
        "work": str(work),
        "photos": str(work / "photos"),
        "seed": settings.seed,
        "feature_image_size": settings.feature_image_size,
        "output_image_size": settings.output_image_size,
        "num_features": settings.num_features,
        "num_threads": settings.num_threads or os.cpu_count() or 1,
        "camera_model": settings.camera_model,
        "single_camera": shares_camera(tags, settings),
        "matcher": choose_matcher(tags, settings),
        "num_neighbours": NUM_NEIGHBOURS,
    }


def shares_camera(tags: dict[str, PhotoTags], settings: PrepareSettings) -> bool:
    """One lens for all: same size, same camera, same focal length, or as told."""
    if settings.share_camera != "auto":
        return settings.share_camera == "yes"
    kinds = {
        (max(t.width, t.height), min(t.width, t.height), t.orientation in (5, 6, 7, 8), t.camera) for t in tags.values()
    }
    focals = {round(tag.focal_px, 1) for tag in tags.values() if tag.focal_px}
    return len(kinds) == 1 and len(focals) <= 1


def choose_matcher(tags: dict[str, PhotoTags], settings: PrepareSettings) -> str:
    """All pairs while that is affordable, then neighbours by GPS, else neighbours by name."""
    if settings.matcher != "auto":
        return settings.matcher
    if len(tags) <= EXHAUSTIVE_UP_TO:
        return "exhaustive"
    return "spatial" if sum(tag.has_gps for tag in tags.values()) >= 0.9 * len(tags) else "sequential"


def finish_capture(
    output: Path,
    work: Path,
    tags: dict[str, PhotoTags],
    admitted: dict[str, str],
    result: dict[str, Any],
    settings: PrepareSettings,
    findings: list[Finding],
) -> dict[str, Any]:
    """Moves the undistorted photographs in place, levels the model, and writes the report last."""
    mapped = result["mapped"]
    by_target = {target: tags[name] for name, target in admitted.items()}
    findings += list(check_result(by_target, result))
    os.replace(work / "undistorted" / "images", output / "images")
    gps = {name: tag for name, tag in by_target.items() if tag.has_gps} if settings.use_gps else {}
    georeference = level_model(work / "undistorted" / "sparse", output / "sparse" / "0", gps)
    if gps and georeference is None:
        findings.append(
            Finding(
                severity=Severity.WARNING, what="GPS positions do not agree with the cameras; the scale is arbitrary"
            )
        )
    report = {
        "schema_version": 1,
        "num_photos": len(tags),
        "num_registered": len(mapped["registered"]),
        "not_registered": sorted(set(admitted.values()) - set(mapped["registered"])),
        "model_sizes": mapped["model_sizes"],
        "num_points": mapped["num_points"],
        "num_observations": mapped["num_observations"],
        "mean_track": mapped["mean_track"],
        "mean_reprojection_error_px": mapped["mean_reprojection_error_px"],
        "cameras": mapped["cameras"],
        "matcher": result["matcher"],
        "seconds": result["seconds"],
        "georeference": asdict(georeference) if georeference else None,
        "findings": [{**asdict(finding), "severity": finding.severity.value} for finding in findings],
    }
    write_json(output / "prepare.json", report)
    return report


def check_result(tags: dict[str, PhotoTags], result: dict[str, Any]) -> Sequence[Finding]:
    """What the registration says about the photographs."""
    mapped, findings = result["mapped"], []
    missing = len(tags) - len(mapped["registered"])
    if missing:
        names = sorted(set(tags) - set(mapped["registered"]))
        listed = ", ".join(names[:5]) + (" ..." if missing > 5 else "")
        what = f"{missing} of {len(tags)} photographs could not be placed: {listed}"
        findings.append(Finding(severity=Severity.WARNING, what=what, remedy="more overlap, or --matcher exhaustive"))
    if len(mapped["model_sizes"]) > 1:
        sizes = ", ".join(map(str, mapped["model_sizes"]))
        findings.append(
            Finding(
                severity=Severity.WARNING,
                what=f"the photographs fall into separate models ({sizes}); the largest is used",
            )
        )
    if mapped["loose"]:
        findings.append(
            Finding(severity=Severity.WARNING, what="poses were found only with loosened limits; check the result")
        )
    focals = [tag.focal_px for tag in tags.values() if tag.focal_px]
    calibrated = mapped["cameras"][0]["focal_px"]
    if focals and abs(calibrated / focals[0] - 1) > FOCAL_TOLERANCE:
        findings.append(
            Finding(
                severity=Severity.WARNING,
                what=f"the calibrated focal length is {calibrated:.0f} px, EXIF says {focals[0]:.0f} px",
                remedy="flat scenes from one height cannot tell; add oblique photographs",
            )
        )
    return findings


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        # Windows lets only some users make links.
        shutil.copyfile(source, target)


def _write_upright(source: Path, target: Path) -> None:
    """An upright RGB JPEG that keeps the EXIF block, so that focal length and position stay known."""
    decoded = read_image(source)
    with Image.open(source) as original:
        exif = original.getexif()
    exif[_PILLOW_ORIENTATION] = 1
    Image.fromarray(decoded.image).save(target, format="JPEG", quality=97, exif=exif)
