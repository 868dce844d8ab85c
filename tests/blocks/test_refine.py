"""Refining seams: what is near or reaches across changes, nothing else, and the seam gets better for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blocks.global_stage import Shared
from blocks.merge_settings import MergeSettings
from blocks.refine import SeamJob, find_reaching, find_seam, refine_seam
from blocks.refine_parts import SeamContext, find_neighbours, make_job
from blocks.settings import RunSettings
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.images import write_image
from scene3d.render import render_view
from scene3d.training.run_folder import RunFolder
from tests.blocks.two_blocks import (
    MARGIN,
    Photographs,
    crop_of,
    make_cameras,
    make_capture,
    make_plan,
    make_town,
    view_name,
)

SETTINGS = RunSettings(image_scale=1.0, sh_degree=0, merge=MergeSettings(refine_iterations=150))


@pytest.fixture(scope="module")
def town() -> Gaussians:
    return make_town()


def owned(town: Gaussians, block: int) -> Gaussians:
    plan = make_plan(make_cameras())
    return town.select(torch.from_numpy(plan.owners(town.means.double().numpy()) == block))


def test_the_seam_is_what_lies_near_or_reaches_across(town: Gaussians) -> None:
    plan, core = make_plan(make_cameras()), owned(town, 0)
    near = find_seam(plan, core)
    distance = -core.means[:, 0]
    small = core.scales.amax(dim=1) * 2 < MARGIN
    assert torch.equal(near[small], distance[small] <= MARGIN)
    far = int(distance.argmax())
    scales = core.log_scales.clone()
    scales[far] = float(np.log(float(distance[far])))
    assert not near[far]
    assert find_seam(plan, replace(core, log_scales=scales))[far]


def test_refining_mends_a_seam_and_leaves_the_rest(town: Gaussians, tmp_path) -> None:
    cameras = make_cameras()
    plan, truth = make_plan(cameras), Photographs(town, cameras)
    for index in range(len(cameras)):
        write_image(tmp_path / view_name(index), truth.load(index).image)
    capture = make_capture(cameras, tmp_path)
    good = owned(town, 0)
    near = find_seam(plan, good)
    colors = good.sh.clone()
    colors[near] += 0.4
    spoiled = replace(good, sh=colors)
    job = SeamJob(
        plan=plan, index=0, capture=capture, views=plan.find_views(0, capture), core=spoiled, around=owned(town, 1)
    )
    refined = refine_seam(job, SETTINGS)
    assert len(refined) == len(good)
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(refined, name)[~near], getattr(spoiled, name)[~near])

    def error(core: Gaussians) -> float:
        whole = Gaussians.concatenate([core, job.around])
        images = [(render_view(whole, cameras[i]).image, truth.load(i).image) for i in job.views[:6]]
        return float(np.mean([float((image - photo).abs().mean()) for image, photo in images]))

    assert error(refined) < 0.7 * error(spoiled)
    none = replace(SETTINGS, merge=MergeSettings(refine_iterations=0))
    assert refine_seam(job, none) is spoiled


def test_only_blocks_that_touch_are_neighbours() -> None:
    plan = make_plan(make_cameras(), (-0.8, 0.0, 0.8))
    assert find_neighbours(plan, 0, range(4)) == [1]
    assert find_neighbours(plan, 2, (0, 2, 3)) == [3]


def test_what_is_around_a_seam_does_not_grow_with_what_the_neighbours_hold(town: Gaussians, tmp_path) -> None:
    cameras = make_cameras()
    capture = make_capture(cameras, tmp_path)
    sizes = {}
    for name, cuts in (("whole", (0.0,)), ("cut", (0.0, 0.8))):
        plan = make_plan(cameras, cuts)
        context = SeamContext(run=RunFolder(tmp_path), plan=plan, capture=capture, settings=SETTINGS)
        crops = {owner: crop_of(tmp_path, plan, owner, town) for owner in range(len(plan.blocks))}
        marks = {owner: crop.core for owner, crop in crops.items()}
        # The block itself was trained without surroundings, so that all there is comes from neighbours.
        alone = crop_of(tmp_path, plan, 0, owned(town, 0))
        crops[0], marks[0] = alone, alone.core
        job = make_job(context, Shared.nothing(), crops[0], crops, marks)
        assert len(job.core) == len(owned(town, 0))
        assert torch.equal(find_reaching(plan, job.around, 0), torch.ones(len(job.around), dtype=torch.bool))
        sizes[name] = len(job.around)
    beyond = len(owned(town, 1))
    assert 0 < sizes["whole"] < 0.3 * beyond
    assert sizes["cut"] == sizes["whole"]


def test_beyond_the_seam_stands_what_the_block_was_trained_amid(town: Gaussians, tmp_path) -> None:
    cameras = make_cameras()
    plan, capture = make_plan(cameras), make_capture(cameras, tmp_path)
    context = SeamContext(run=RunFolder(tmp_path), plan=plan, capture=capture, settings=SETTINGS)
    mine = replace(town, sh=town.sh + 1.0)
    crops = {0: crop_of(tmp_path, plan, 0, mine), 1: crop_of(tmp_path, plan, 1, town)}
    marks = {owner: crop.core for owner, crop in crops.items()}
    around = make_job(context, Shared.nothing(), crops[0], crops, marks).around
    reaching = find_reaching(plan, around, 0)
    assert len(around) == len(owned(town, 1))
    of_neighbour = {tuple(color) for color in town.sh[:, 0].tolist()}
    assert all(tuple(color) in of_neighbour for color in around.sh[reaching, 0].tolist())
    assert not any(tuple(color) in of_neighbour for color in around.sh[~reaching, 0].tolist())
    hole = make_job(context, Shared.nothing(), crops[0], {0: crops[0]}, {0: marks[0]}).around
    assert not any(tuple(color) in of_neighbour for color in hole.sh[:, 0].tolist())


def test_refining_renders_no_pseudo_views(town: Gaussians, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(
        SETTINGS, pseudo_view=replace(SETTINGS.pseudo_view, every=1), merge=MergeSettings(refine_iterations=3)
    )
    cameras = make_cameras()
    plan, truth = make_plan(cameras), Photographs(town, cameras)
    for index in range(len(cameras)):
        write_image(tmp_path / view_name(index), truth.load(index).image)
    capture = make_capture(cameras, tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError("a pseudo view was rendered")

    monkeypatch.setattr("scene3d.training.pseudo_view.PseudoViewTerm.__call__", refuse)
    views = plan.find_views(0, capture)
    job = SeamJob(plan=plan, index=0, capture=capture, views=views, core=owned(town, 0), around=owned(town, 1))
    assert len(refine_seam(job, asked)) == len(job.core)
