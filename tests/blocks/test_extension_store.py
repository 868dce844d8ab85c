"""Extensions on disk: composing, undoing, and what happens when things go wrong."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from blocks.extension_store import (
    ExtensionRecord,
    active_extensions,
    compose_scene,
    list_extensions,
    next_id,
    read_photographed,
    save_extension,
    undo_extension,
)
from scene3d.errors import InputError
from scene3d.io.ply import read_gaussians_ply
from scene3d.io.ply_rows import read_ply_layout
from scene3d.io.tensors import file_sha256
from scene3d.training.run_folder import RunFolder
from tests.blocks.town_run import write_merged_scene
from tests.blocks.two_blocks import make_floaters

FACTS = {"cells": [[0, -1]], "cell_edge": 0.5, "seed": 7}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    write_merged_scene(folder, make_floaters([0, 0, 0], [1, 1, 1], 50, opacity=0.9))
    return folder


def grow(run: RunFolder, count: int) -> ExtensionRecord:
    """An extension of some Gaussians, put into the scene."""
    scene = read_photographed(run)
    new = make_floaters([2, 0, 0], [3, 1, 1], count, opacity=0.8)
    record = save_extension(run, next_id(run), new, FACTS, scene)
    compose_scene(run, [*active_extensions(run), record])
    return record


def statuses(run: RunFolder) -> dict[str, str]:
    return {extension.id: extension.status for extension in list_extensions(run)}


def manifest_of(run: RunFolder) -> dict[str, Any]:
    return dict(json.loads(run.manifest.read_text()))


def test_photographed_rows_come_first_and_keep_their_bytes(run: RunFolder) -> None:
    before = read_ply_layout(run.merged_scene)
    rows = b"".join(before.rows(0, 50))
    grow(run, 20)
    after = read_ply_layout(run.merged_scene)
    assert (after.num_rows, after.num_base_rows) == (70, 50)
    assert b"".join(after.rows(0, 50)) == rows
    assert after.record == before.record
    gaussians = read_gaussians_ply(run.merged_scene)
    assert len(gaussians) == 70
    assert len(read_photographed(run).gaussians) == 50


def test_an_extension_lies_where_it_was_grown_in_the_world(run: RunFolder) -> None:
    new = make_floaters([2, 0, 0], [3, 1, 1], 20, opacity=0.8)
    grow(run, 20)
    from app.scenes import open_scene
    from scene3d.events import Quiet

    run.capture.write_text(
        json.dumps({"schema_version": 1, "world_from_capture": manifest_of(run)["world_from_capture"]})
    )
    scene = open_scene(run.root, Quiet())
    assert torch.allclose(scene.gaussians.means[50:], new.means, atol=1e-5)
    assert torch.allclose(scene.gaussians.log_scales[50:], new.log_scales, atol=1e-5)


def test_undo_restores_the_file_byte_for_byte(run: RunFolder) -> None:
    before, manifest = file_sha256(run.merged_scene), manifest_of(run)
    grow(run, 20)
    assert file_sha256(run.merged_scene) != before
    assert manifest_of(run)["num_gaussians"] == 70
    assert undo_extension(run) == "001"
    assert file_sha256(run.merged_scene) == before
    restored = manifest_of(run)
    assert {name: restored[name] for name in manifest} == manifest
    assert statuses(run) == {"001": "undone"}


def test_undoing_the_first_of_two_keeps_the_second(run: RunFolder) -> None:
    grow(run, 20)
    grow(run, 30)
    both = b"".join(read_ply_layout(run.merged_scene).rows(70, 100))
    assert undo_extension(run, "001") == "001"
    layout = read_ply_layout(run.merged_scene)
    assert [(part.name, part.num_rows) for part in layout.parts] == [("002", 30)]
    assert b"".join(layout.rows(50, 80)) == both
    assert statuses(run) == {"001": "undone", "002": "active"}
    assert manifest_of(run)["extensions"] == [{"id": "002", "num_gaussians": 30}]


def test_undoing_both_in_either_order_restores_the_file(run: RunFolder) -> None:
    before = file_sha256(run.merged_scene)
    for order in (("001", "002"), ("004", "003")):
        grow(run, 20)
        grow(run, 30)
        for name in order:
            undo_extension(run, name)
        assert file_sha256(run.merged_scene) == before
    assert next_id(run) == "005"


def test_a_merge_anew_marks_extensions_as_stale(run: RunFolder) -> None:
    record = grow(run, 20)
    write_merged_scene(run, make_floaters([0, 0, 0], [1, 1, 1], 60, opacity=0.9))
    assert statuses(run) == {"001": "stale"}
    assert len(read_gaussians_ply(run.merged_scene)) == 60
    before = file_sha256(run.merged_scene)
    with pytest.raises(InputError, match="merged or trained anew") as told:
        compose_scene(run, [record])
    assert "--seed 7" in str(told.value)
    assert file_sha256(run.merged_scene) == before


def test_a_scene_written_again_as_it_was_leaves_extensions_out_but_usable(run: RunFolder) -> None:
    record = grow(run, 20)
    write_merged_scene(run, make_floaters([0, 0, 0], [1, 1, 1], 50, opacity=0.9))
    assert statuses(run) == {"001": "undone"}
    compose_scene(run, [record])
    assert statuses(run) == {"001": "active"}


def test_a_process_killed_while_composing_leaves_the_old_scene(run: RunFolder) -> None:
    grow(run, 20)
    before, manifest = file_sha256(run.merged_scene), manifest_of(run)
    scene = read_photographed(run)
    record = save_extension(run, next_id(run), make_floaters([2, 0, 0], [3, 1, 1], 30, opacity=0.8), FACTS, scene)
    child = os.fork()
    if child == 0:
        os.fsync = lambda _: os._exit(9)  # the temporary is written, and nothing after it happens
        compose_scene(run, [*active_extensions(run), record])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert file_sha256(run.merged_scene) == before
    assert manifest_of(run) == manifest
    assert statuses(run) == {"001": "active", "002": "undone"}
    with run.locked():
        assert not list(run.merged_scene.parent.glob(".*.part"))
        compose_scene(run, [*active_extensions(run), record])
    assert statuses(run) == {"001": "active", "002": "active"}


def test_a_process_killed_before_the_manifest_leaves_a_scene_that_knows_its_parts(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_sha256(run.merged_scene)
    monkeypatch.setattr("blocks.extension_store.write_json", _stop)
    scene = read_photographed(run)
    with pytest.raises(KeyboardInterrupt):
        save_extension(run, next_id(run), make_floaters([2, 0, 0], [3, 1, 1], 30, opacity=0.8), FACTS, scene)
    monkeypatch.undo()
    record = grow(run, 20)
    monkeypatch.setattr("blocks.extension_store.write_json", _stop)
    with pytest.raises(KeyboardInterrupt):
        compose_scene(run, [])
    monkeypatch.undo()
    assert file_sha256(run.merged_scene) == before
    assert statuses(run)[record.id] == "undone"
    assert len(read_photographed(run).gaussians) == 50


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_extension_is_named(run: RunFolder) -> None:
    first = grow(run, 20)
    grow(run, 30)
    content = bytearray(first.scene.read_bytes())
    content[-3] ^= 1
    first.scene.write_bytes(content)
    before = file_sha256(run.merged_scene)
    with pytest.raises(InputError, match="SHA-256") as told:
        undo_extension(run, "002")
    assert str(first.scene) in str(told.value)
    assert file_sha256(run.merged_scene) == before
    assert undo_extension(run, "001") == "001"  # it can still be taken out
    assert statuses(run) == {"001": "undone", "002": "active"}


def test_an_extension_whose_folder_is_gone_is_named(run: RunFolder) -> None:
    record = grow(run, 20)
    record.folder.rename(record.folder.with_name("elsewhere"))
    with pytest.raises(InputError, match="extension 001 is in the scene but not here"):
        undo_extension(run)


def test_a_damaged_record_is_named(run: RunFolder) -> None:
    record = grow(run, 20)
    (record.folder / "extension.json").write_text('{"schema_version": 1, "cells": 3}')
    with pytest.raises(InputError, match=r"extension\.json"):
        list_extensions(run)


def test_nothing_to_undo_and_a_wrong_id_are_told(run: RunFolder) -> None:
    with pytest.raises(InputError, match="nothing was grown"):
        undo_extension(run)
    grow(run, 20)
    with pytest.raises(InputError, match="those that are: 001"):
        undo_extension(run, "002")


def test_an_unfinished_run_cannot_grow(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not finished"):
        read_photographed(RunFolder(tmp_path))
