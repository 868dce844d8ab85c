"""What pyproject.toml cannot say: the registry of data sets and the viewer's JavaScript are put in when built."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
REGISTRY = HERE / "datasets" / "registry.toml"
REGISTRY_IN_PACKAGE = Path("scene3d", "data", "registry.toml")


class BuildWithParts(build_py):
    """Builds the packages with the registry and the bundled JavaScript; an editable install has them elsewhere."""

    def run(self) -> None:
        if not self.editable_mode:
            sys.path.insert(0, str(HERE / "tools"))
            from build_viewer import build

            build(HERE)
            # The list of package data is made before the command runs, when the bundle may not have been there.
            self.__dict__.pop("data_files", None)
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / REGISTRY_IN_PACKAGE
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REGISTRY, target)


setup(cmdclass={"build_py": BuildWithParts})
