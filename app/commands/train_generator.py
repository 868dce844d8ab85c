"""Owns `scene3d train-generator`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import SettingsError
from scene3d.events import Reporter
from scene3d.generation.train_settings import PresetName, TrainSettings, make_preset

if TYPE_CHECKING:
    import torch

    from scene3d.generation.site_sources import SiteSource
    from scene3d.generation.spec import GeneratorSpec

DEFAULT_DATA = ("world",)
ROOMS = "rooms"
PACKAGED_NAME = "packaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainGenerator:
    """Train a generator of scene blocks.

    Interrupted at any moment, --resume goes on and ends with the same weights as an undisturbed training.
    """

    output: Annotated[Path, arg(aliases=("-o",))]
    """Folder for the model, its checkpoints and the curves."""

    preset: PresetName = "tiny"
    """nano: half a minute, shows that everything works; tiny: what comes with the program, on one core; short and
    full: on a GPU."""

    data: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SOURCE")] = ()
    """Where blocks come from: world (the procedural one, if nothing is given), rooms (furnished flats, with classes of
    their own), meshes:FOLDER (glTF, GLB, PLY, OBJ) or run:RUN (what the photographs of a finished reconstruction show).
    Given several times, each gives an equal part; rooms stand alone."""

    edge: Annotated[float | None, arg(metavar="METRES")] = None
    """Edge of a block of run:RUN in its capture's units, as for `scene3d extend`; the same default."""

    capture: OptionalPath = None
    """Where the capture of run:RUN lies now, if it was moved."""

    resume: bool = False
    """Go on from the newest checkpoint."""

    start: OptionalPath = None
    """Begin with the weights of a trained generator, `packaged` for the one that comes with the program: to train it
    longer, or on other data. With --autoencoder-steps 0 only its denoiser changes."""

    sites: Annotated[int | None, arg(metavar="INT")] = None
    """Places that blocks are cropped out of, if not those of the preset."""

    autoencoder_steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps of the auto-encoder, if not those of the preset."""

    denoiser_steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps of the denoiser, if not those of the preset."""

    autoencoder_rate: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Learning rate of the auto-encoder, if not that of the preset."""

    denoiser_rate: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Learning rate of the denoiser, if not that of the preset; for one that is trained already take a quarter."""

    seed: int = 0
    """Of data, weights and noise."""

    cache: OptionalPath = None
    """Folder for the training data once made; below --output if not given."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""


def run(command: TrainGenerator, reporter: Reporter) -> int:
    """Make the data, train, measure, and write the model with its curves."""
    from app.loss_curves import write_curves
    from scene3d.config import settings_to_record, write_settings
    from scene3d.events import EventLog, Tee
    from scene3d.generation.generator import Generator
    from scene3d.generation.held_out import measure_held_out
    from scene3d.generation.model_files import MODEL_NAME, write_model
    from scene3d.generation.site_sources import load_sites
    from scene3d.generation.train_state import on_cpu
    from scene3d.generation.training import check_new, train_generator
    from scene3d.io.atomic import make_folder

    settings = make_settings(command)
    check_new(command.output, resume=command.resume)
    make_folder(command.output)
    write_settings(command.output / "config.yaml", settings)
    reporter = Tee(reporter, EventLog(command.output / "events.jsonl"))
    cache = command.cache or command.output / "data"
    spec = settings.config.spec
    sites = load_sites(find_sources(command, spec), spec, settings.sites, cache=cache, reporter=reporter)
    seen, held_out = sites.split(settings.held_out)
    start = None if command.start is None else Generator.load(None if is_packaged(command.start) else command.start)
    state = train_generator(
        settings,
        seen,
        command.output / "checkpoints",
        resume=command.resume,
        start=None if start is None else start.model,
        device=choose_device(command.device),
        reporter=reporter,
    )
    model = on_cpu(state.model)
    figures = measure_held_out(model, held_out, settings)
    training = {
        "data": list(command.data or DEFAULT_DATA),
        "start_sha256": None if start is None else start.weights_sha256,
        "settings": settings_to_record(settings),
        "held_out": figures,
    }
    path = write_model(command.output, settings.config, model.to_tensors(), training, name=MODEL_NAME)
    curves = write_curves(command.output / "curves.svg", state.losses)
    for name, value in figures.items():
        print(f"{name:<18}{value:.4f}")
    print(f"model    {path}")
    print(f"curves   {curves}")
    return ExitCode.DONE


def make_settings(command: TrainGenerator) -> TrainSettings:
    """The preset with what the flags change."""
    from scene3d.generation.palette import default_classes
    from scene3d.generation.room_sites import room_spec

    settings = replace(make_preset(command.preset, default_classes()), seed=command.seed)
    if ROOMS in command.data:
        settings = replace(settings, config=replace(settings.config, spec=room_spec(settings.config.spec)))
    for name in ("sites", "autoencoder_steps", "denoiser_steps", "autoencoder_rate", "denoiser_rate"):
        value = getattr(command, name)
        if value is not None:
            settings = replace(settings, **{name: value})
    return settings


def find_sources(command: TrainGenerator, spec: "GeneratorSpec") -> "list[SiteSource]":
    """Where the sites come from.

    Raises:
        SettingsError: A source has no known name.
        InputError: A run is not finished or damaged.
    """
    from blocks.run_sites import run_source
    from scene3d.generation.site_sources import find_source

    sources = []
    for name in command.data or DEFAULT_DATA:
        kind, _, place = name.partition(":")
        if kind == "run" and place:
            source = run_source(Path(place), spec, command.seed, edge_m=command.edge, capture_folder=command.capture)
        else:
            source = find_source(name, spec, command.seed)
        sources.append(source)
    return sources


def is_packaged(start: Path) -> bool:
    """Whether --start names the generator that comes with the program; a file or folder of that name comes first."""
    return start == Path(PACKAGED_NAME) and not start.exists()


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> "torch.device":
    """The device of that name.

    Raises:
        SettingsError: It is not there.
    """
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SettingsError("--device is cuda, and this machine has none that works", remedy="use --device cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")
