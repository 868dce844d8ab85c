"""Benchmark tables: ours beside the published rows, and two protocols never in one table."""

import pytest

from app.bench_tables import find_notes, format_means, format_target
from app.bench_targets import find_targets
from scene3d.data.registry import read_registry
from tests.app.bench_output import tables_of


def row(name: str = "single", **changes):
    """A row as `run_method` makes it."""
    figures = {"psnr_db": 25.0, "ssim": 0.8, "lpips": 0.25}
    return {
        "method": name,
        "failure": None,
        "iterations": 20,
        "image_scale": 0.25,
        "split": "train.txt and test.txt",
        "num_views": 21,
        "num_views_missing": 0,
        "lpips_net": "vgg",
        "lpips_input": "[-1, 1]",
        "num_gaussians": 10,
        "num_blocks": 1,
        "missing_blocks": [],
        "raw": figures,
        "corrected": {**figures, "psnr_db": 26.5},
        "reasons": {},
        **changes,
    }


@pytest.fixture
def registry():
    return read_registry()


@pytest.fixture
def rubble(registry, tmp_path):
    (tmp_path / "rubble").mkdir()
    (target,) = find_targets(["rubble"], registry, data=tmp_path)
    return target


def test_raw_and_corrected_figures_are_never_in_one_table(rubble, registry):
    tables = tables_of(format_target(rubble, [row()], registry.sources))
    for kind in ("raw", "corrected"):
        theirs = [each for each in rubble.dataset.published if each.protocol == kind]
        assert len(tables[kind]) == 2 + 1 + len(theirs)
        shown = [line.split("  ")[0].strip() for line in tables[kind][3:]]
        assert shown == [each.method for each in theirs]
        for line, each in zip(tables[kind][3:], theirs, strict=True):
            assert f"{each.psnr_db:.2f}" in line
            assert f"[{each.source}]" in line
    assert "25.00" in tables["raw"][2]
    assert "26.50" in tables["corrected"][2]
    assert "26.50" not in "\n".join(tables["raw"])


def test_our_rows_come_first_and_every_source_is_explained(rubble, registry):
    text = format_target(rubble, [row("blocks", num_blocks=7), row()], registry.sources)
    raw = tables_of(text)["raw"]
    assert [line.split()[:2] for line in raw[2:4]] == [["*", "blocks"], ["*", "single"]]
    assert "this run, 7 blocks" in raw[2]
    for key in ("BG-TIP", "MGS-P", "LoBE", "MGS#20"):
        assert f"[{key}] {registry.sources[key]}" in text


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"image_scale": 0.5}, "our images are at 0.5 of their size, published 0.25"),
        ({"lpips_net": "alex"}, "our LPIPS is that of alex, the published one that of vgg: the two cannot be compared"),
        ({}, "our LPIPS is of images in [-1, 1], as the network was made for; published ones were given [0, 1]"),
        ({"num_views": 20}, "our held-out views are 20 (train.txt and test.txt), the published 21"),
        ({"split": "every 8th view by name is held out"}, "every 8th was taken instead"),
        ({}, "published at another image scale: DOGS (0.1667)"),
        ({"num_views_missing": 3}, "single: 3 held-out photographs are gone"),
        ({"reasons": {"lpips": "too small"}}, "single: no lpips (too small)"),
        ({"method": "blocks"}, "one piece, so this is what single does"),
    ],
)
def test_every_difference_of_protocol_is_noted(rubble, changes, note):
    assert any(note in each for each in find_notes(rubble, [row(**changes)]))


def test_the_same_protocol_is_not_noted(rubble):
    notes = find_notes(rubble, [row(lpips_input="[0, 1]")])
    assert notes == ["published at another image scale: DOGS (0.1667)"]


def test_a_failed_method_has_no_protocol_to_compare(rubble):
    assert find_notes(rubble, [row(failure="no memory")]) == []


def test_means_stand_beside_the_published_mean_when_every_scene_was_run(registry):
    tandt = registry.collections["tandt"]
    rows = {"tandt-truck": [row()], "tandt-train": [row(raw={"psnr_db": 21.0, "ssim": 0.7, "lpips": None})]}
    text = format_means(tandt, rows, registry.sources)
    tables = tables_of(text)
    assert "23.00  0.750      -" in tables["raw"][2]
    assert "23.14  0.841  0.183" in tables["raw"][3]
    assert len(tables["corrected"]) == 3
    assert format_means(tandt, {"tandt-truck": [row()]}, registry.sources) == ""
    rows["tandt-truck"] = [row(failure="no memory")]
    assert format_means(tandt, rows, registry.sources) == ""
