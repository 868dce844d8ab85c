"""Owns which views are trained on and which are held out; no view is ever both."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scene3d.data.capture import Capture, Finding, Severity
from scene3d.errors import InputError, SettingsError
from scene3d.io.opening import read_file_bytes

MIN_VIEWS_TO_HOLD_OUT = 3
"""With fewer views than this all are trained on."""

MAX_LIST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices into `Capture.views`, ascending; no index is in both."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    rule: str
    """How the views were told apart, for records and reports."""

    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        assert not set(self.train) & set(self.test), "a view is trained on and held out"


def split_views(capture: Capture, *, every: int = 8) -> Split:
    """Tell training views from held-out ones.

    In this order: `train.txt` or `test.txt` in the capture's folder (one name per line; with one of them the rest is
    the other), else a `train/` folder beside `test/` or `val/` in the view names (with both, `val/` is left out), else
    views 0, `every`, 2 `every`, ... of those sorted by name.

    Args:
        capture: At least one view.
        every: 0 holds nothing out.

    Raises:
        SettingsError: `every` is 1 or negative.
        InputError: There is no view to train on, or a list contradicts the capture or the other list.
    """
    if every < 0 or every == 1:
        raise SettingsError(f"every is {every}; use 0 to hold nothing out, or at least 2")
    if not capture.views:
        raise InputError("there is no view to train on", where=capture.root)
    split = _by_lists(capture) or _by_folders(capture) or _by_order(capture, every)
    if not split.train:
        raise InputError(
            f"no view is left to train on ({split.rule})", where=capture.root, remedy="hold fewer views out"
        )
    return split if split.test else _with_warning(split)


def view_list_sha256(names: Sequence[str]) -> str:
    """Hash of a set of view names, whatever their order: equal hashes mean that figures can be compared."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _by_order(capture: Capture, every: int) -> Split:
    order = sorted(range(len(capture.views)), key=lambda index: capture.views[index].name)
    held_out = order[::every] if every and len(order) >= MIN_VIEWS_TO_HOLD_OUT else []
    test = tuple(sorted(held_out))
    rule = f"every {every}th view by name is held out" if every else "no view is held out"
    return Split(train=_all_but(capture, test), test=test, rule=rule)


def _by_folders(capture: Capture) -> Split | None:
    """The split by the first folder of the names; None unless every view is in train/, test/ or val/, not all alike."""
    folders = [view.name.split("/")[0] for view in capture.views]
    kinds = set(folders)
    if "train" not in kinds or len(kinds) == 1 or not kinds <= {"train", "test", "val"}:
        return None
    held_out = "test" if "test" in kinds else "val"
    train = tuple(index for index, folder in enumerate(folders) if folder == "train")
    test = tuple(index for index, folder in enumerate(folders) if folder == held_out)
    left_out = len(folders) - len(train) - len(test)
    rule = f"folders train/ and {held_out}/" + (f" (val/ left out: {left_out} views)" if left_out else "")
    return Split(train=train, test=test, rule=rule)


def _by_lists(capture: Capture) -> Split | None:
    paths = {kind: capture.root / f"{kind}.txt" for kind in ("train", "test")}
    present = {kind: path for kind, path in paths.items() if path.is_file()}
    if not present:
        return None
    findings: list[Finding] = []
    listed = {kind: _views_of_list(capture, path, findings) for kind, path in present.items()}
    both = listed.get("train", set()) & listed.get("test", set())
    if both:
        name = capture.views[min(both)].name
        raise InputError(
            f"train.txt and test.txt share {len(both)} views, {name!r} among them",
            where=capture.root,
            remedy="take them out of one list: no view may be trained on and held out",
        )
    everything = set(range(len(capture.views)))
    train = listed["train"] if "train" in listed else everything - listed["test"]
    test = listed["test"] if "test" in listed else everything - listed["train"]
    rule = " and ".join(f"{kind}.txt" for kind in present)
    return Split(train=tuple(sorted(train)), test=tuple(sorted(test)), rule=rule, findings=tuple(findings))


def _views_of_list(capture: Capture, path: Path, findings: list[Finding]) -> set[int]:
    """Views named in a list by full name, or by file name or stem where only one view has it."""
    lookup: dict[str, int | None] = {}
    for index, view in enumerate(capture.views):
        file = PurePosixPath(view.name)
        for alias in {file.name, file.stem, view.name.removesuffix(file.suffix), f"images/{view.name}"} - {view.name}:
            lookup[alias] = None if alias in lookup else index
    lookup |= {view.name: index for index, view in enumerate(capture.views)}
    text = read_file_bytes(path, max_bytes=MAX_LIST_BYTES).decode("utf-8-sig", errors="replace")
    names = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = {name: lookup.get(name) for name in names}
    unknown = [name for name, index in found.items() if index is None]
    if unknown:
        findings.append(
            Finding(
                severity=Severity.WARNING,
                what=f"{len(unknown)} of {len(found)} names match no view, such as {unknown[0][:80]!r}",
                where=path.name,
                remedy="write view names as in the capture's model, one per line",
            )
        )
    return {index for index in found.values() if index is not None}


def _all_but(capture: Capture, left_out: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(range(len(capture.views))) - set(left_out)))


def _with_warning(split: Split) -> Split:
    finding = Finding(
        severity=Severity.WARNING,
        what=f"no view is held out of {len(split.train)} ({split.rule}): quality cannot be measured",
        remedy="take more photographs, or list held-out views in test.txt",
    )
    return Split(train=split.train, test=(), rule=split.rule, findings=(*split.findings, finding))
