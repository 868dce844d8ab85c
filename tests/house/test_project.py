import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rasterizer", "scene3d", "blocks", "app")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_only_the_constraints_pin_torch(project):
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert [pin.split("==")[0] for pin in pins] == ["torch"]
    named = [need for need in project["project"]["dependencies"] if need.startswith("torch")]
    assert named == ["torch>=2.6"]


def test_packages_that_bring_another_torch_stay_out(project):
    extras = project["project"]["optional-dependencies"]
    every = [*project["project"]["dependencies"], *(need for group in extras.values() for need in group)]
    assert [need for need in every if need.split(">")[0].strip() in ("torchvision", "lpips", "torchmetrics")] == []


def test_the_wheel_holds_the_four_packages_and_nothing_else(project):
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{name}*" for name in PACKAGES]
    for folder in ("datasets", "tests", "benchmarks", "tools"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_every_gate_covers_all_four_packages(project):
    tools = project["tool"]
    assert tuple(tools["mypy"]["packages"]) == PACKAGES
    assert tools["mypy"]["strict"] is True
    assert tuple(tools["importlinter"]["root_packages"]) == PACKAGES
    assert tools["pytest"]["ini_options"]["filterwarnings"][0] == "error"


def test_every_python_version_that_is_promised_is_the_one_that_runs(project):
    versions = [
        line for line in project["project"]["classifiers"] if line.startswith("Programming Language :: Python ::")
    ]
    assert versions == ["Programming Language :: Python :: 3.11"]


def test_the_license_is_stated_and_present(project):
    assert project["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:400]
