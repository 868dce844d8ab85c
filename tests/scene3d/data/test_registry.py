"""The registry of public data sets: every figure has its source and protocol, and the reader refuses what is wrong."""

import math
import re
from pathlib import Path

import pytest

from scene3d.data.registry import (
    PREPARED_NAME,
    Download,
    PublishedRow,
    find_registry,
    read_photo_scale,
    read_registry,
)
from scene3d.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SCENES = {"rubble", "building", "residence", "sci-art", "campus", "matrixcity-aerial", "matrixcity-street"}

SMALL = """
schema_version = 1
[sources]
"P" = "a paper"
[collections.c]
title = "C"
home_page = "https://example.invalid"
licence = "see home page"
obtain = "ask"
layouts = ["colmap"]
split = "every-8"
image_scale = 0.5
lpips_net = "vgg"
lpips_input = "[0, 1]"
[datasets.d]
collection = "c"
title = "D"
published = [{ method = "m", protocol = "raw", psnr_db = 20.0, source = "P" }]
"""


@pytest.fixture(scope="module")
def registry():
    return read_registry()


def all_rows(registry) -> list[tuple[str, PublishedRow]]:
    owners = [*registry.datasets.values(), *registry.collections.values()]
    return [(owner.name, row) for owner in owners for row in owner.published]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_in_the_repository_the_source_registry_is_read():
    assert find_registry() == ROOT / "datasets" / "registry.toml"


def test_the_sets_of_this_field_are_there(registry):
    assert set(registry.datasets) >= SCENES
    assert len(registry.collections["mipnerf360"].datasets) == 9
    assert set(registry.collections["tandt"].datasets) == {"tandt-truck", "tandt-train"}
    assert all("/" not in name for name in registry.datasets)


def test_every_data_set_says_where_it_comes_from_and_how_it_is_measured(registry):
    for dataset in registry.datasets.values():
        assert dataset.home_page.startswith("https://"), dataset.name
        assert dataset.licence, dataset.name
        assert dataset.obtain, dataset.name
        assert dataset.layouts, dataset.name
        assert dataset.published, dataset.name
        assert (dataset.lpips_net, dataset.lpips_input) == ("vgg", "[0, 1]"), dataset.name


def test_every_published_row_has_a_protocol_and_a_source_that_is_explained(registry):
    rows = all_rows(registry)
    assert len(rows) > 130
    for name, row in rows:
        assert row.protocol in ("raw", "corrected"), (name, row)
        assert all(registry.sources[source] for source in row.source.split(", ")), (name, row)


def test_no_row_stands_under_both_protocols(registry):
    for name in registry.datasets:
        kinds: dict[tuple, set] = {}
        for row in registry.datasets[name].published:
            figures = (row.method, row.psnr_db, row.ssim, row.lpips, row.source)
            kinds.setdefault(figures, set()).add(row.protocol)
        assert all(len(found) == 1 for found in kinds.values()), name


@pytest.mark.parametrize(
    ("name", "method", "protocol", "source", "figures"),
    [
        ("rubble", "Momentum-GS 60K", "corrected", "MGS-P", (26.66, 0.826, 0.200)),
        ("rubble", "Momentum-GS", "raw", "MGS#20", (26.08, 0.832, 0.196)),
        ("building", "BlockGaussian 40K", "corrected", "BG-v2", (21.72, 0.762, 0.222)),
        ("sci-art", "LoBE-GS", "raw", "LoBE", (21.24, 0.843, 0.219)),
        ("sci-art", "LoBE-GS", "corrected", "LoBE", (24.71, 0.853, 0.217)),
        ("residence", "CityGS-X", "raw", "EffGS", (22.11, None, 0.221)),
        ("campus", "Momentum-GS", "corrected", "MGS-P", (24.34, 0.760, 0.290)),
        ("matrixcity-aerial", "BlockGaussian", "raw", "BG-TIP", (29.65, 0.924, 0.084)),
        ("matrixcity-aerial", "Momentum-GS", "raw", "Prism", (27.77, 0.867, 0.212)),
        ("matrixcity-street", "BlockGaussian", "raw", "BG-TIP", (24.43, 0.814, 0.281)),
        ("mipnerf360-garden", "3DGS 30K", "raw", "3DGS", (27.41, 0.868, 0.103)),
    ],
)
def test_known_figures_are_as_published(registry, name, method, protocol, source, figures):
    (row,) = [
        row
        for row in registry.find(name).published
        if (row.method, row.protocol, row.source) == (method, protocol, source)
    ]
    assert (row.psnr_db, row.ssim, row.lpips) == figures


@pytest.mark.parametrize("name", ["mipnerf360", "tandt"])
def test_the_scenes_of_a_collection_have_the_published_mean(registry, name):
    collection = registry.collections[name]
    (mean,) = collection.published
    for figure, tolerance in (("psnr_db", 0.0051), ("ssim", 0.00051), ("lpips", 0.00051)):
        values = [getattr(registry.datasets[scene].published[0], figure) for scene in collection.datasets]
        assert math.fsum(values) / len(values) == pytest.approx(getattr(mean, figure), abs=tolerance)


def test_counts_agree_with_each_other(registry):
    for dataset in registry.datasets.values():
        if None not in (dataset.num_train, dataset.num_test):
            assert dataset.num_train + dataset.num_test == dataset.num_images, dataset.name
        if dataset.split == "every-8":
            assert dataset.num_test == -(-dataset.num_images // 8), dataset.name


def test_every_download_can_be_checked(registry):
    for dataset in registry.datasets.values():
        for download in dataset.downloads:
            assert re.fullmatch(r"[0-9a-f]{64}", download.sha256), dataset.name
            assert download.size_bytes > 0, dataset.name


def test_an_unknown_name_brings_the_closest(registry):
    with pytest.raises(InputError, match=r"no data set 'rubbel'.*did you mean 'rubble'"):
        registry.find("rubbel")
    with pytest.raises(InputError, match="known: rubble"):
        registry.find("xyzzy")


def test_a_data_set_inherits_from_its_collection(tmp_path):
    dataset = read_registry(written(tmp_path, SMALL)).find("d")
    assert (dataset.split, dataset.image_scale, dataset.layouts) == ("every-8", 0.5, ("colmap",))
    assert dataset.downloads == ()


def test_downloads_are_read(tmp_path):
    text = SMALL + 'downloads = [{ url = "https://example.invalid/a.zip", sha256 = "00", size_bytes = 3 }]\n'
    (download,) = read_registry(written(tmp_path, text)).find("d").downloads
    assert download == Download(url="https://example.invalid/a.zip", sha256="00", size_bytes=3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version = 1", "schema_version = 9", "layout 9"),
        ("schema_version = 1", "schema_version = ", "not readable as TOML"),
        ('collection = "c"', 'collection = "b"', "collection 'b'"),
        ('title = "D"', 'title = "D"\nscale = 1.0', "unknown field 'scale'"),
        ('home_page = "https://example.invalid"', "", "no field 'home_page'"),
        ('title = "D"', 'title = "D"\nnum_images = 0', "num_images is 0"),
        ('title = "D"', "title = 7", "title is 7; it must be text"),
        ('layouts = ["colmap"]', "layouts = []", "layouts is ()"),
        ("image_scale = 0.5", "image_scale = 2.0", "image_scale is 2.0"),
        ("image_scale = 0.5", 'image_scale = "big"', "image_scale is 'big'"),
        ("psnr_db = 20.0", "psnr_db = nan", "psnr_db is nan"),
        ('protocol = "raw"', 'protocol = "both"', "protocol is 'both'; it must be raw or corrected"),
        ('source = "P"', 'source = "Q"', "source 'Q'"),
        ('split = "every-8"', 'split = "random"', "split is 'random'"),
    ],
)
def test_a_registry_that_is_wrong_is_refused_in_one_line(tmp_path, old, new, message):
    assert old in SMALL
    with pytest.raises(InputError, match=re.escape(message)):
        read_registry(written(tmp_path, SMALL.replace(old, new, 1)))


def test_the_scale_of_converted_photographs_is_read(tmp_path):
    assert read_photo_scale(tmp_path) == 1.0
    (tmp_path / PREPARED_NAME).write_text('{"photo_scale": 0.25}')
    assert read_photo_scale(tmp_path) == 0.25


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"photo_scale": 7}', '{"photo_scale": "x"}'])
def test_a_damaged_record_of_a_conversion_is_refused(tmp_path, text):
    (tmp_path / PREPARED_NAME).write_text(text)
    with pytest.raises(InputError, match="convert the data set again"):
        read_photo_scale(tmp_path)
