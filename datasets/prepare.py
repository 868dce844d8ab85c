"""Fetches, verifies and converts a local copy of a public data set of `registry.toml`.

    python datasets/prepare.py verify rubble FOLDER
    python datasets/prepare.py convert rubble FOLDER --output DATA/rubble
    python datasets/prepare.py fetch NAME --output FOLDER

Nothing is fetched but by `fetch`, and only files whose hash is known. A converted copy is a capture: photographs and
models are linked, not copied, where the disk allows it; `train.txt` and `test.txt` hold the published split.
"""

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

from layouts import Plan, explain_unknown, plan_colmap, plan_colmap_parts
from matrixcity import plan_matrixcity

from app.errors import ExitCode, report
from app.progress import open_progress
from scene3d.data.capture import Finding, Severity
from scene3d.data.reading import read_capture
from scene3d.data.registry import PREPARED_NAME, Dataset, Download, read_registry
from scene3d.data.split import split_views
from scene3d.errors import InputError, Scene3dError, SettingsError
from scene3d.events import Reporter
from scene3d.io.atomic import temporary_path, write_json, write_text
from scene3d.io.fetching import fetch_file
from scene3d.io.images import read_image_size
from scene3d.limits import IMAGE_SUFFIXES

PLANNERS: dict[str, Callable[[Dataset, Path], Plan | None]] = {
    "colmap-parts": plan_colmap_parts,
    "colmap": plan_colmap,
    "matrixcity": plan_matrixcity,
}
"""By the names that `layouts` in the registry uses."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        dataset = read_registry().find(options.name)
        with open_progress() as reporter:
            return int(options.run(dataset, options, reporter))
    except (Exception, KeyboardInterrupt) as error:
        return report(error, debug=options.debug)


def run_fetch(dataset: Dataset, options: argparse.Namespace, reporter: Reporter) -> ExitCode:
    """Download what the registry knows the hash of, or the one file that is given with its hash."""
    downloads = _find_downloads(dataset, options)
    for download in downloads:
        name = Path(urlsplit(download.url).path).name
        if not name:
            raise SettingsError(f"'{download.url}' names no file", remedy="give the address of a file")
        path = options.output / name
        size_bytes = download.size_bytes or None
        fetch_file(download.url, path, sha256=download.sha256, size_bytes=size_bytes, reporter=reporter)
        print(f"{path}: whole, with the right hash")
    print(f"unpack and then: python datasets/prepare.py convert {dataset.name} FOLDER --output DATA/{dataset.name}")
    return ExitCode.DONE


def run_verify(dataset: Dataset, options: argparse.Namespace, reporter: Reporter) -> ExitCode:
    """Say what a local copy is, and what it lacks."""
    plan = make_plan(dataset, options.folder)
    findings = [*find_gaps(dataset, plan), *find_unreadable(plan, reporter)]
    print(f"{dataset.title}: {plan.layout}, {len(plan.train):,} training and {len(plan.test):,} held-out photographs")
    for finding in findings:
        print(f"{finding.severity.value}: {finding.what}" + (f"; {finding.remedy}" if finding.remedy else ""))
    if not findings:
        print("as the registry says")
    return _code_of(findings)


def run_convert(dataset: Dataset, options: argparse.Namespace, reporter: Reporter) -> ExitCode:
    """Make a capture of a local copy and read it back."""
    plan = make_plan(dataset, options.folder)
    findings = find_gaps(dataset, plan)
    for finding in findings:
        reporter.note(finding.what, level=finding.severity.value)
    num_copied = write_capture(dataset, plan, options.output, reporter)
    if num_copied:
        reporter.note(f"{num_copied:,} files were copied: this disk allows no links", level="warning")
    split = split_views(read_capture(options.output))
    print(f"{options.output}: {len(split.train):,} training and {len(split.test):,} held-out views ({split.rule})")
    return _code_of(findings)


def make_plan(dataset: Dataset, folder: Path) -> Plan:
    """How a local copy becomes a capture.

    Raises:
        InputError: It has none of the data set's layouts, or no usable photographs.
    """
    plans = (PLANNERS[layout](dataset, folder) for layout in dataset.layouts)
    plan = next((plan for plan in plans if plan is not None), None)
    if plan is None:
        raise explain_unknown(dataset, folder)
    if not plan.train or not plan.test:
        kind = "held-out" if plan.train else "training"
        what = f"has poses but none of its {kind} photographs"
        some = f" (such as {plan.missing[0]})" if plan.missing else ""
        raise InputError(what + some, where=folder, remedy=f"add the photographs: {dataset.obtain}")
    return plan


def find_gaps(dataset: Dataset, plan: Plan) -> list[Finding]:
    """Where a copy is not what the registry says."""
    findings = []
    if plan.missing:
        names = ", ".join(plan.missing[:3]) + (", ..." if len(plan.missing) > 3 else "")
        what = f"{len(plan.missing):,} photographs have a pose but are missing ({names})"
        findings.append(_finding(what, "add them"))
    counts = (
        ("training photographs", len(plan.train), dataset.num_train),
        ("held-out photographs", len(plan.test), dataset.num_test),
        ("photographs", len(plan.train) + len(plan.test), dataset.num_images),
    )
    for what, found, known in counts:
        if known is not None and found != known:
            findings.append(_finding(f"{found:,} {what} instead of {known:,}", "figures cannot be compared"))
    if plan.num_without_pose:
        what = f"{plan.num_without_pose:,} photographs have no pose; they are left out"
        findings.append(Finding(severity=Severity.INFO, what=what))
    return findings


def find_unreadable(plan: Plan, reporter: Reporter) -> Iterator[Finding]:
    """Photographs whose header cannot be read."""
    photos = {name: path for name, path in plan.links.items() if path.suffix.lower() in IMAGE_SUFFIXES}
    reporter.start("look at photographs", len(photos))
    bad = []
    for step, (name, path) in enumerate(photos.items()):
        try:
            read_image_size(path)
        except Scene3dError:
            bad.append(name)
        reporter.advance("look at photographs", step + 1)
    reporter.finish("look at photographs")
    if bad:
        yield _finding(f"{len(bad):,} photographs cannot be read, such as {bad[0]}", "copy them again")


def write_capture(dataset: Dataset, plan: Plan, output: Path, reporter: Reporter) -> int:
    """Make the capture's folder, whole or not at all; returns how many files had to be copied.

    Raises:
        InputError: The folder holds something already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError("holds something already", where=output, remedy="choose a new folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    working = temporary_path(output)
    shutil.rmtree(working, ignore_errors=True)
    try:
        num_copied = _fill(working, dataset, plan, reporter)
        if output.exists():
            output.rmdir()
        working.rename(output)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return num_copied


def _fill(folder: Path, dataset: Dataset, plan: Plan, reporter: Reporter) -> int:
    reporter.start("link", len(plan.links))
    num_copied = 0
    for step, (name, path) in enumerate(plan.links.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        num_copied += not _link(path.resolve(), folder / name)
        reporter.advance("link", step + 1)
    for part, names in (("train", plan.train), ("test", plan.test)):
        write_text(folder / f"{part}.txt", "".join(f"{name}\n" for name in names))
    for name, record in plan.records.items():
        write_json(folder / name, record)
    about = {"schema_version": 1, "name": dataset.name, "layout": plan.layout, "photo_scale": plan.photo_scale}
    write_json(folder / PREPARED_NAME, about)
    reporter.finish("link")
    return num_copied


def _link(source: Path, target: Path) -> bool:
    """A hard link, else a symbolic one, else a copy; whether it is a link."""
    for make in (os.link, os.symlink):
        try:
            make(source, target)
            return True
        except (OSError, NotImplementedError):
            continue
    shutil.copy2(source, target)
    return False


def _find_downloads(dataset: Dataset, options: argparse.Namespace) -> Sequence[Download]:
    if (options.url is None) != (options.sha256 is None):
        raise SettingsError("--url and --sha256 belong together", remedy="give both or none")
    if options.url is not None:
        return [Download(url=options.url, sha256=options.sha256, size_bytes=options.size or 0)]
    if not dataset.downloads:
        what = f"no download of {dataset.title} with a known hash is in the registry"
        remedy = f"get it so: {dataset.obtain} ({dataset.home_page}); or give --url and --sha256"
        raise InputError(what, remedy=remedy)
    return dataset.downloads


def _finding(what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, what=what, remedy=remedy)


def _code_of(findings: Sequence[Finding]) -> ExitCode:
    short = any(finding.severity is not Severity.INFO for finding in findings)
    return ExitCode.PARTIAL if short else ExitCode.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debug", action="store_true", help="show the full trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    name_help = "name in registry.toml, such as rubble or mipnerf360-garden"
    for command, run in (("verify", run_verify), ("convert", run_convert), ("fetch", run_fetch)):
        one = commands.add_parser(command, help=(run.__doc__ or "").splitlines()[0])
        one.add_argument("name", metavar="NAME", help=name_help)
        one.set_defaults(run=run)
        if command != "fetch":
            one.add_argument("folder", metavar="FOLDER", type=Path, help="the local copy")
        if command != "verify":
            one.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
        if command == "fetch":
            one.add_argument("--url", help="another address than the registry's")
            one.add_argument("--sha256", help="hash of the file at --url")
            one.add_argument("--size", type=int, help="size of that file in bytes, if the server does not say")
    return parser


if __name__ == "__main__":
    sys.exit(main())
