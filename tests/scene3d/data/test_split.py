"""The split: nothing is ever trained on and held out, and each rule does what the field expects."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scene3d.data.split import split_views, view_list_sha256
from scene3d.errors import InputError, SettingsError
from tests.scene3d.data import rigs


def capture_named(*names, root="."):
    capture = rigs.make_capture([rigs.make_camera((0, 0, 5), (0, 0, 0))] * len(names))
    views = tuple(replace(view, name=name) for view, name in zip(capture.views, names, strict=True))
    return replace(capture, views=views, root=type(capture.root)(root))


def names_of(capture, indices):
    return [capture.views[index].name for index in indices]


@given(st.lists(st.text("abc019/._", min_size=1, max_size=6), min_size=1, max_size=40, unique=True), st.integers(2, 9))
def test_every_view_is_trained_on_or_held_out_and_never_both(names, every):
    split = split_views(capture_named(*names), every=every)
    assert not set(split.train) & set(split.test)
    if "folders" not in split.rule:
        assert sorted(split.train + split.test) == list(range(len(names)))


def test_every_eighth_by_name_is_held_out_whatever_the_order_of_the_views():
    names = [f"{i:03d}.jpg" for i in range(20)]
    shuffled = names[7:] + names[:7]
    capture = capture_named(*shuffled)
    assert sorted(names_of(capture, split_views(capture).test)) == ["000.jpg", "008.jpg", "016.jpg"]


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 0), (3, 1), (8, 1), (9, 2)])
def test_few_views_leave_some_of_each_or_say_that_none_is_held_out(count, held_out):
    split = split_views(capture_named(*(f"{i}.jpg" for i in range(count))))
    assert len(split.test) == held_out
    assert len(split.train) == count - held_out
    assert ("cannot be measured" in "".join(finding.what for finding in split.findings)) == (held_out == 0)


def test_zero_holds_nothing_out():
    split = split_views(capture_named(*(f"{i}.jpg" for i in range(20))), every=0)
    assert split.test == ()
    assert len(split.train) == 20


@pytest.mark.parametrize("every", [1, -8])
def test_an_interval_that_leaves_nothing_to_train_on_is_refused(every):
    with pytest.raises(SettingsError, match="at least 2"):
        split_views(capture_named("a", "b", "c"), every=every)


def test_no_view_at_all_is_refused():
    with pytest.raises(InputError, match="no view"):
        split_views(replace(capture_named("a"), views=()))


def test_a_folder_pair_is_the_split():
    capture = capture_named("train/a.jpg", "train/b.jpg", "val/a.jpg")
    split = split_views(capture)
    assert names_of(capture, split.test) == ["val/a.jpg"]
    assert split.rule == "folders train/ and val/"


def test_of_three_folders_the_validation_views_are_in_neither_part():
    capture = capture_named("test/a.jpg", "train/a.jpg", "val/a.jpg", "val/b.jpg")
    split = split_views(capture)
    assert names_of(capture, split.train) == ["train/a.jpg"]
    assert names_of(capture, split.test) == ["test/a.jpg"]
    assert "val/ left out: 2 views" in split.rule


@pytest.mark.parametrize("names", [("train/a", "train/b", "train/c"), ("train/a", "val/b", "cam/c"), ("a", "b", "c")])
def test_other_folders_are_no_split(names):
    assert "every 8th" in split_views(capture_named(*names)).rule


def test_a_test_list_is_held_out_and_the_rest_is_trained_on(tmp_path):
    (tmp_path / "test.txt").write_text("# chosen by hand\nimages/b.jpg\n\nsub/c.jpg\n")
    capture = capture_named("a.jpg", "b.jpg", "sub/c.jpg", root=tmp_path)
    split = split_views(capture)
    assert names_of(capture, split.train) == ["a.jpg"]
    assert split.rule == "test.txt"


def test_a_train_list_leaves_the_rest_for_testing(tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\n")
    capture = capture_named("a.jpg", "b.jpg", "c.jpg", root=tmp_path)
    assert names_of(capture, split_views(capture).test) == ["c.jpg"]


def test_with_both_lists_other_views_are_in_neither(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg\n")
    (tmp_path / "test.txt").write_text("\ufeffc.jpg\r\n", encoding="utf-8")
    capture = capture_named("a.jpg", "b.jpg", "c.jpg", root=tmp_path)
    split = split_views(capture)
    assert (split.train, split.test) == ((0,), (2,))


def test_lists_go_before_folders(tmp_path):
    (tmp_path / "test.txt").write_text("train/b.jpg\n")
    capture = capture_named("train/a.jpg", "train/b.jpg", "val/c.jpg", root=tmp_path)
    assert names_of(capture, split_views(capture).test) == ["train/b.jpg"]


def test_lists_that_overlap_are_refused(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "test.txt").write_text("b\n")
    with pytest.raises(InputError, match=r"share 1 views, 'b\.jpg'"):
        split_views(capture_named("a.jpg", "b.jpg", root=tmp_path))


def test_a_list_that_holds_everything_out_is_refused(tmp_path):
    (tmp_path / "test.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(InputError, match="no view is left to train on"):
        split_views(capture_named("a.jpg", "b.jpg", root=tmp_path))


def test_names_that_match_nothing_or_two_views_are_counted(tmp_path):
    (tmp_path / "test.txt").write_text("x.jpg\na\nb.jpg\n")
    split = split_views(capture_named("one/a.jpg", "two/a.jpg", "b.jpg", root=tmp_path))
    assert split.test == (2,)
    assert "2 of 3 names match no view" in split.findings[0].what


def test_the_hash_of_a_list_ignores_order_and_sees_every_name():
    assert view_list_sha256(["b", "a"]) == view_list_sha256(["a", "b"])
    assert len({view_list_sha256(names) for names in (["a"], ["a", "b"], ["ab"], [])}) == 4
