"""Owns the scene doctor: what is wrong or remarkable about a capture, and what to do about it."""

from collections.abc import Iterable
from itertools import chain

from scene3d.data.capture import SEVERITIES, Capture, Finding, Severity
from scene3d.data.inspection_photos import inspect_photos
from scene3d.data.inspection_points import (
    check_cloud,
    check_in_front,
    check_number_of_points,
    check_quality_of_points,
    check_tracks,
    check_view_groups,
)
from scene3d.data.inspection_rig import (
    check_duplicates,
    check_intrinsics,
    check_names,
    check_number_of_views,
    check_numbers,
    check_places,
    check_sizes,
)
from scene3d.events import Reporter

CHECKS = (
    check_number_of_views,
    check_places,
    check_duplicates,
    check_names,
    check_sizes,
    check_intrinsics,
    check_numbers,
    check_number_of_points,
    check_cloud,
    check_tracks,
    check_in_front,
    check_view_groups,
    check_quality_of_points,
)


def inspect_capture(capture: Capture, *, decode: bool = False, reporter: Reporter | None = None) -> tuple[Finding, ...]:
    """Examine a capture; worst findings first. What reading it already found (`capture.findings`) is not repeated.

    An ERROR means that no scene can come of it; a WARNING that the scene will be worse than it could be. Nothing here
    raises, whatever the capture.

    Args:
        capture: In any frame and unit.
        decode: Look into the photographs too (sharpness, exposure, masks); takes a moment for each.
        reporter: Hears of the progress of decoding.
    """
    findings: list[Finding] = list(chain.from_iterable(check(capture) for check in CHECKS))
    if decode:
        findings.extend(inspect_photos(capture, reporter))
    findings.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return tuple(findings)


def worst_severity(findings: Iterable[Finding]) -> Severity:
    """The verdict: INFO means that all is well."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default=Severity.INFO)
