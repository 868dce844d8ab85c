"""The free-space audit: planted floaters go, the town stays, and nothing is removed that photographs show."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blocks import audit
from blocks.audit import AuditReport, audit_blocks
from blocks.audit_evidence import Marks
from blocks.audit_judge import Verdict
from blocks.merge_parts import Crop
from blocks.merge_settings import MergeSettings
from blocks.plan import BlockPlan
from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.errors import InputError, SettingsError
from scene3d.events import EventLog, Quiet, read_events
from scene3d.gaussians.gaussians import Gaussians
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from tests.blocks.two_blocks import (
    MARGIN,
    Photographs,
    crop_of,
    looking_at,
    make_cameras,
    make_capture,
    make_floaters,
    make_model,
    make_plan,
    make_town,
)

NEAR_FACE = ([-MARGIN, -0.6, 0.3], [-0.01, 0.6, 0.6])
"""Air over the first block's core."""


@dataclass(frozen=True)
class Place:
    """The town, seen and planned."""

    town: Gaussians
    cameras: list[Camera]
    plan: BlockPlan
    photographs: Photographs


@pytest.fixture(scope="module")
def place() -> Place:
    town, cameras = make_town(), make_cameras()
    return Place(town, cameras, make_plan(cameras), Photographs(town, cameras))


@dataclass(frozen=True)
class Audited:
    """What an audit did, and what it should have done."""

    models: dict[int, Gaussians]
    crops: list[Crop]
    removed: Marks
    report: AuditReport
    num_real: int
    """The first of the first block's Gaussians, without the floaters behind them."""

    def removed_floaters(self) -> torch.Tensor:
        core = self.crops[0].core[self.num_real :]
        return self.removed[0][self.num_real :][core].float()

    def removed_real_share(self) -> float:
        first = self.removed[0][: self.num_real].sum()
        cores = self.crops[0].core[: self.num_real].sum() + self.crops[1].core.sum()
        return float((first + self.removed[1].sum()) / cores)

    def merged(self, *, cleared: bool) -> Gaussians:
        kept = [
            self.models[crop.owner].select(crop.core & ~self.removed[crop.owner] if cleared else crop.core)
            for crop in self.crops
        ]
        return Gaussians.concatenate(kept)


def run_audit(
    place: Place,
    folder: Path,
    floaters: Gaussians,
    *,
    second: Gaussians | None = None,
    photos: Photographs | None = None,
    reporter: object = None,
    **settings: float,
) -> Audited:
    first = make_model(place.town, 1)
    models = {0: Gaussians.concatenate([first, floaters]), 1: make_model(place.town, 2) if second is None else second}
    crops = [crop_of(folder, place.plan, owner, model) for owner, model in models.items()]
    removed, report = audit_blocks(
        crops,
        place.plan,
        MergeSettings(**settings),
        capture=make_capture(place.cameras, folder),
        photos=photos,
        reporter=reporter or Quiet(),
    )
    return Audited(models, crops, removed, report, len(first))


def planted(opacity: float, count: int = 40) -> Gaussians:
    return make_floaters(*NEAR_FACE, count, opacity=opacity)


def lacking_boxes(model: Gaussians) -> Gaussians:
    """The model without two boxes of the first block."""
    x, _, z = model.means.unbind(dim=1)
    missing = (x > -0.5) & (x < 0) & (z > 0.03)
    assert missing.sum() > 100
    return model.select(~missing)


@pytest.fixture(scope="module")
def audited(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Forty opaque and forty half-transparent floaters in the first block, and photographs to judge them."""
    floaters = Gaussians.concatenate([planted(0.95), planted(0.4)])
    return run_audit(place, tmp_path_factory.mktemp("audit"), floaters, photos=place.photographs)


def test_planted_floaters_are_removed(audited: Audited) -> None:
    removed = audited.removed_floaters()
    assert len(removed) == 80
    assert removed[:40].mean() >= 0.8, "opaque"
    assert removed[40:].mean() >= 0.8, "half-transparent"


def test_the_town_stays(audited: Audited) -> None:
    assert audited.removed_real_share() <= 0.01


def test_the_report_counts_what_was_removed(audited: Audited) -> None:
    report = audited.report
    num_removed = sum(int(marks.sum()) for marks in audited.removed.values())
    assert (report.num_removed, report.judge, report.note) == (num_removed, "photographs", "")
    assert report.num_suspects >= num_removed
    assert report.removed_share == num_removed / sum(int(crop.core.sum()) for crop in audited.crops)
    assert report.psnr_after_db > report.psnr_before_db + 3


def test_the_band_around_the_face_looks_better_from_views_that_nobody_used(place: Place, audited: Audited) -> None:
    gains = []
    for x in (-0.25, 0.0, 0.25):
        camera = looking_at(np.array([x, 0.1, 1.0]), np.array([0.0, 0.0, 0.0]))
        with torch.no_grad():
            truth = render_view(place.town, camera).image.clamp(0, 1)
            before, after = (
                render_view(audited.merged(cleared=cleared), camera).image.clamp(0, 1) for cleared in (False, True)
            )
        gains.append(psnr_db(after, truth) - psnr_db(before, truth))
    assert min(gains) > 1


def test_where_nothing_hangs_in_the_air_hardly_anything_is_removed(place: Place, tmp_path: Path) -> None:
    nothing = make_floaters(*NEAR_FACE, 0, opacity=0.5)
    audited = run_audit(place, tmp_path, nothing, photos=place.photographs)
    assert audited.removed_real_share() <= 0.001
    assert audited.report.num_views > 10


def test_what_the_neighbour_does_not_know_stays_where_photographs_show_it(place: Place, tmp_path: Path) -> None:
    second = lacking_boxes(make_model(place.town, 2))
    audited = run_audit(place, tmp_path, planted(0.95), second=second, photos=place.photographs)
    assert audited.removed_floaters().mean() >= 0.8
    assert audited.removed_real_share() <= 0.01
    assert audited.report.num_suspects > audited.report.num_removed


def test_without_photographs_only_what_is_no_surface_is_removed(place: Place, tmp_path: Path) -> None:
    floaters = Gaussians.concatenate([planted(0.95), planted(0.3)])
    audited = run_audit(place, tmp_path, floaters)
    assert audited.report.judge == "weights"
    assert audited.report.psnr_before_db is None
    removed = audited.removed_floaters()
    assert removed[:40].mean() < 0.25, "an opaque floater makes up whole pixels of its block's images, as a wall does"
    assert removed[40:].mean() > 0.5
    assert audited.removed_real_share() <= 0.01


def test_without_photographs_blocks_do_not_speak_of_what_they_do_not_own(place: Place, tmp_path: Path) -> None:
    audited = run_audit(place, tmp_path, planted(0.3), second=lacking_boxes(make_model(place.town, 2)))
    assert audited.report.judge == "weights"
    assert audited.removed_real_share() <= 0.01


def test_nothing_is_removed_where_the_photographs_would_be_worse_for_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misjudge(scene: object, suspects: Marks, *_: object) -> Verdict:
        gains = {owner: torch.ones(len(marks)) for owner, marks in suspects.items()}
        return Verdict(gains=gains, psnr_before_db=30.0, psnr_after_db=29.9)

    monkeypatch.setattr(audit, "judge_suspects", misjudge)
    audited = run_audit(place, tmp_path, planted(0.95), photos=place.photographs)
    assert not any(marks.any() for marks in audited.removed.values())
    assert "0.10 dB worse" in audited.report.note
    assert audited.report.num_removed == 0 < audited.report.num_suspects


class Unreadable(Photographs):
    """A loader of damaged files."""

    def __init__(self) -> None:
        pass

    def load(self, index: int) -> TrainingImage:
        raise InputError(f"view {index} is damaged")

    def prefetch(self, indices: Iterable[int]) -> None:
        pass


def test_photographs_that_cannot_be_read_acquit(place: Place, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    audited = run_audit(place, tmp_path, planted(0.95), photos=Unreadable(), reporter=log)
    assert audited.report.num_removed == 0 < audited.report.num_suspects
    notes = [str(event["message"]) for event in read_events(tmp_path / "events.jsonl") if event["event"] == "note"]
    assert any("is damaged" in note for note in notes)


class Masked(Photographs):
    """Photographs that are right where a mask says so, and elsewhere show the floaters too."""

    def __init__(self, place: Place, floaters: Gaussians, mask: torch.Tensor) -> None:
        super().__init__(Gaussians.concatenate([place.town, floaters]), place.cameras)
        self.mask = mask
        for index, image in enumerate(place.photographs.images):
            self.images[index][mask] = image[mask]

    def load(self, index: int) -> TrainingImage:
        return replace(super().load(index), mask=self.mask)


@pytest.mark.parametrize("step", [3, 1000])
def test_only_the_pixels_of_the_mask_judge(place: Place, tmp_path: Path, step: int) -> None:
    floaters, columns = planted(0.95), torch.arange(1, 1 + place.cameras[0].width)
    mask = (columns % step == 0).expand(place.cameras[0].height, -1)
    audited = run_audit(place, tmp_path, floaters, photos=Masked(place, floaters, mask))
    if step == 3:
        assert audited.removed_floaters().mean() >= 0.8
    else:
        assert (audited.report.num_removed, audited.report.psnr_before_db) == (0, None), "all is masked out"


@pytest.mark.parametrize("lacking", ["wish", "capture", "views"])
def test_no_audit_says_why(place: Place, tmp_path: Path, lacking: str) -> None:
    crops = [crop_of(tmp_path, place.plan, owner, make_model(place.town, owner)) for owner in (0, 1)]
    removed, report = audit_blocks(
        crops[:1] if lacking == "views" else crops,
        place.plan,
        MergeSettings(audit=lacking != "wish"),
        capture=None if lacking == "capture" else make_capture(place.cameras, tmp_path),
        reporter=Quiet(),
    )
    assert removed == {}
    wanted = {"wish": "not asked for", "capture": "the capture is not at hand", "views": "no two blocks"}
    assert wanted[lacking] in report.note


@pytest.mark.parametrize(
    ("name", "value"),
    [("audit_tolerance", 0.0), ("audit_weight", -1.0), ("audit_min_views", 0), ("max_resident_blocks", 0)],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        MergeSettings(**{name: value})
