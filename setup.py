"""What pyproject.toml cannot say: the registry of data sets lives in `datasets/` and is copied in when built."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

REGISTRY = Path("datasets", "registry.toml")
REGISTRY_IN_PACKAGE = Path("scene3d", "data", "registry.toml")


class BuildWithRegistry(build_py):
    """Builds the packages, then copies the registry into them; an editable install reads it where it is."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / REGISTRY_IN_PACKAGE
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REGISTRY, target)


setup(cmdclass={"build_py": BuildWithRegistry})
