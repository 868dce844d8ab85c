"""What a benchmark is run on: data sets of the registry, collections of them, and folders."""

import pytest

from app.bench_targets import find_targets
from scene3d.data.registry import PREPARED_NAME, read_registry
from scene3d.errors import InputError, SettingsError


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(monkeypatch):
    monkeypatch.delenv("SCENE3D_DATA", raising=False)


@pytest.fixture
def registry():
    return read_registry()


@pytest.fixture
def data(tmp_path):
    """A folder of local copies with one in it, whose photographs are at half their size."""
    (tmp_path / "rubble").mkdir()
    (tmp_path / "rubble" / PREPARED_NAME).write_text('{"photo_scale": 0.5}')
    return tmp_path


def test_a_collection_stands_for_its_scenes(registry, tmp_path):
    for scene in ("truck", "train"):
        (tmp_path / f"tandt-{scene}").mkdir()
    targets = find_targets(["tandt"], registry, data=tmp_path)
    assert [target.name for target in targets] == ["tandt-truck", "tandt-train"]


def test_local_copies_are_looked_for_below_the_variable(registry, data, monkeypatch):
    monkeypatch.setenv("SCENE3D_DATA", str(data))
    (target,) = find_targets(["rubble"], registry, data=None, lpips_net="alex", image_scale=0.125)
    assert (target.lpips_net, target.image_scale, target.reading_scale) == ("alex", 0.125, 0.25)


def test_a_folder_called_like_a_data_set_is_a_capture_when_written_as_a_path(registry, data, monkeypatch):
    monkeypatch.chdir(data)
    (target,) = find_targets(["./rubble"], registry, data=None)
    assert target.dataset is None
    assert (target.image_scale, target.lpips_net, target.reading_scale) == (1.0, "alex", 1.0)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["rubbel"], InputError, r"neither a data set nor a folder; did you mean 'rubble'\?"),
        (["building"], InputError, r"local copy of Building is not here.*prepare.py convert building"),
        (["rubble", "rubble"], SettingsError, "two captures are called 'rubble'"),
    ],
)
def test_what_cannot_be_found_is_said_before_anything_runs(registry, data, names, error, message):
    with pytest.raises(error, match=message):
        find_targets(names, registry, data=data)


def test_more_than_the_shrunk_photographs_hold_cannot_be_had(registry, data):
    with pytest.raises(SettingsError, match=r"photographs are there at 0\.5 of their size"):
        find_targets(["rubble"], registry, data=data, image_scale=1.0)


def test_without_a_folder_of_data_sets_the_flag_is_named(registry):
    with pytest.raises(SettingsError, match="--data DIR"):
        find_targets(["rubble"], registry, data=None)
