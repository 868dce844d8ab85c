"""Refining seams: what is near or reaches across changes, nothing else, and the seam gets better for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blocks.merge_settings import MergeSettings
from blocks.refine import SeamJob, find_seam, refine_seam
from blocks.refine_parts import find_neighbours
from blocks.settings import RunSettings
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.images import write_image
from scene3d.render import render_view
from tests.blocks.two_blocks import MARGIN, Photographs, make_cameras, make_capture, make_plan, make_town, view_name

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
