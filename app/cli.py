"""Owns the command line: finds the command, makes its flags from its settings, and turns errors into exit codes."""

import contextlib
import difflib
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from app.errors import ExitCode, one_line, report
from app.progress import open_progress
from scene3d.errors import SettingsError

COMMANDS = {
    "prepare": "Find the camera poses of a folder of photographs",
    "inspect": "Say what is in a capture and what to mend",
    "partition": "Divide a large capture into blocks and draw the map",
    "reconstruct": "Turn a capture, or a folder of photographs, into a Gaussian scene",
    "merge": "Merge the trained blocks of a run into one scene once more",
    "evaluate": "Measure a reconstruction on photographs it never saw",
    "render": "Make pictures, depth maps or a film from a scene",
    "generate": "Make a place out of nothing, by a layout or freely",
    "extend": "Grow a scene beyond what was photographed, or take that back",
    "train-generator": "Train the generator of scene blocks",
    "export": "Write a scene as .ply, .splat, .spz or a mesh, whole or cropped",
    "clean": "Remove floaters and whatever lies outside a box",
    "bench": "Reconstruct and measure, and print our figures beside the published ones",
    "view": "Open the viewer in the browser: look, reconstruct, extend, measure, export",
    "demo": "Make a small synthetic place, reconstruct it and show the result",
    "doctor": "List what works on this machine, and why the rest does not",
}
"""Each is a module of `app.commands` with a settings dataclass of the same name and a function `run`; a dash in the
name is an underscore in the module's and nothing in the dataclass'."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name no terminal can show is no reason to stop
    try:
        return _answer(words)
    except BrokenPipeError:
        _detach_stdout()
        return int(ExitCode.DONE)
    except (Exception, KeyboardInterrupt) as error:
        return report(error, debug=debug)


def find_names(name: str) -> tuple[str, str]:
    """The module and the settings class of a command."""
    words = name.split("-")
    return "_".join(words), "".join(word.capitalize() for word in words)


def parse(name: str, words: Sequence[str]) -> Any:
    """The settings of one command from its flags.

    Raises:
        SettingsError: The flags make no sense.
        SystemExit: Help was asked for and has been printed.
    """
    import tyro

    module = _load(name)
    defaults = {"default": module.make_defaults(words)} if hasattr(module, "make_defaults") else {}
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                getattr(module, find_names(name)[1]),
                prog=f"scene3d {name}",
                args=list(words),
                config=(tyro.conf.FlagCreatePairsOff,),
                **defaults,
            )
    except SystemExit as ending:
        if not ending.code:
            raise
        raise SettingsError(_shorten(errors.getvalue()), remedy=f"see `scene3d {name} --help`") from None


def _answer(words: Sequence[str]) -> int:
    try:
        return _dispatch(words)
    except SystemExit as ending:  # tyro ends `--help` this way
        return ending.code if isinstance(ending.code, int) else int(ExitCode.DONE)
    finally:
        sys.stdout.flush()  # what is still held back must not meet a closed pipe after the last handler


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return int(ExitCode.DONE if words else ExitCode.USAGE)
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"scene3d {version('scene3d')}")
        return int(ExitCode.DONE)
    name = words[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean '{close[0]}'?" if close else "see `scene3d --help`"
        raise SettingsError(f"there is no command '{name}'", remedy=remedy)
    settings = parse(name, words[1:])
    with open_progress() as reporter:
        return int(_load(name).run(settings, reporter))


def _load(name: str) -> ModuleType:
    # Only the chosen command is imported: `scene3d --help` must not wait for torch.
    return importlib.import_module(f"app.commands.{find_names(name)[0]}")


def _overview() -> str:
    lines = ["usage: scene3d COMMAND [OPTIONS]", "", "From photographs of a large place to a 3D Gaussian scene.", ""]
    lines += [f"  {name:<17}{summary}" for name, summary in COMMANDS.items()]
    lines += ["", "`scene3d COMMAND --help` lists the options of one.", "--version  print the version"]
    return "\n".join([*lines, "--debug    with any command: show the full trace of an error"])


def _shorten(box: str) -> str:
    """The message inside the frame that tyro draws around it, in one line."""
    sections: list[list[str]] = [[]]
    for line in _ESCAPES.sub("", box).splitlines():
        inner = line.strip("│")
        if line and not line.strip(" ─-│╰╯"):
            sections.append([])
        # Lines this deep repeat the help text of an option; the frame's top edge carries only a title.
        elif inner.strip() and not inner.startswith((" " * 9, "╭")):
            sections[-1].append(inner.strip())
    if "╭" not in box:  # where the terminal knows no frames, the title is the first section
        sections = sections[1:]
    sections = [section for section in sections if section]
    if not sections:
        return one_line(box) or "the options could not be understood"
    message = " ".join(sections[0])
    for section in sections[1:]:
        if section[0].startswith("Perhaps you meant") and len(section) > 1:
            return one_line(f"{message}; did you mean {section[1].split()[0].strip(',')}?")
    return one_line(message)


def _detach_stdout() -> None:
    # The reader of the pipe is gone; without this the interpreter would complain once more when it closes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
