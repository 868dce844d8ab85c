"""Owns the life of one training run: which view comes next, density rounds, checkpoints, roll-back."""

import logging
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from scene3d.data.loader import TrainingImage
from scene3d.errors import Diverged, InputError
from scene3d.events import Quiet, Reporter
from scene3d.seeding import make_generator
from scene3d.training.exposure import Exposure
from scene3d.training.field import Field
from scene3d.training.hooks import PhotoSupply, Surroundings, TrainingHooks, TrainingState
from scene3d.training.schedules import drop_share_at, is_density_round, sh_degree_at
from scene3d.training.settings import ReconstructSettings
from scene3d.training.shared_decoder import SharedDecoder
from scene3d.training.step import StepContext, training_step

logger = logging.getLogger(__name__)

PREFETCH = 4
"""Photographs decoded ahead of their use."""

FINITE_CHECK_EVERY = 50
"""Iterations between two looks at all parameters."""

MAX_ROLLBACKS = 3
"""Roll-backs after which a run gives up."""


class Trainer:
    """Trains one field on the training views of one capture.

    Everything that influences later iterations is part of `state()`, so that a run cut anywhere and resumed from its
    last checkpoint ends with the same bytes on a CPU.
    """

    def __init__(
        self,
        field: Field,
        loader: PhotoSupply,
        train_views: Sequence[int],
        settings: ReconstructSettings,
        *,
        scene_scale: float,
        surroundings: Surroundings | None = None,
        hooks: TrainingHooks | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        if not train_views:
            raise InputError("there is no view to train on", remedy="use fewer held-out views (--test-every 0)")
        self.field = field
        self._surroundings = surroundings or Surroundings()
        enabled = settings.exposure.enabled and len(train_views) > 1
        self.exposure = self._surroundings.exposure or Exposure(len(train_views), enabled=enabled, device=field.device)
        self.block_weight = self._surroundings.block_weight
        self.settings = settings
        self.scene_scale = scene_scale
        self.iteration = 0
        self.seconds = 0.0
        self._loader = loader
        self._train_views = list(train_views)
        self._num_views = self._surroundings.num_views or len(train_views)
        self._hooks = hooks or TrainingHooks()
        self._reporter = reporter or Quiet()
        self._generator = make_generator(settings.seed, "training")
        self._order = torch.zeros(0, dtype=torch.int64)
        self._skipped: list[int] = []
        self._rollbacks = 0

    def run(self, until: int | None = None) -> None:
        """Trains up to iteration `until` (exclusive; the end by default).

        Raises:
            Diverged: Parameters left the finite numbers again and again.
        """
        end = self.settings.iterations if until is None else min(until, self.settings.iterations)
        if self.iteration == 0:
            self._save()
        while self.iteration < end:
            self.advance()
            if self._is_checkpoint_due():
                self._save()

    def advance(self) -> float:
        """One iteration with its report and, where it is due, its density round; saves nothing.

        The gradient of a shared decoder that the trainer does not step is left there for its owner.

        Returns:
            The loss.

        Raises:
            Diverged: As `run`.
        """
        started_s = time.monotonic()
        loss = self._one_iteration()
        self._report(loss)
        # After the look: a round unsettles the scene for some iterations.
        if is_density_round(self.settings, self.iteration):
            self._change_density()
        self.seconds += time.monotonic() - started_s
        return loss

    def state(self) -> TrainingState:
        """Tensors and plain values from which `restore` continues bit for bit.

        A shared decoder is part of it only where the trainer steps it.
        """
        tensors = {**self.field.capture(), **self.exposure.capture()}
        if self._owned_decoder is not None:
            tensors |= self._owned_decoder.capture()
        tensors["trainer.generator"] = self._generator.get_state()
        tensors["trainer.order"] = self._order.clone()
        return tensors, {"iteration": self.iteration, "seconds": self.seconds, "skipped": list(self._skipped)}

    def restore(self, state: TrainingState) -> None:
        """Continues from a saved state."""
        tensors, record = state
        self.field.restore(tensors)
        self.exposure = Exposure.restore(
            tensors, enabled=self.exposure.enabled, trainable=self.exposure.trainable, device=self.field.device
        )
        if self._owned_decoder is not None:
            self._owned_decoder.restore(tensors)
        self._generator.set_state(tensors["trainer.generator"])
        self._order = tensors["trainer.order"].clone()
        self.iteration = int(record["iteration"])
        self.seconds = float(record["seconds"])
        self._skipped = [int(view) for view in record["skipped"]]

    @property
    def _owned_decoder(self) -> SharedDecoder | None:
        """The decoder, where this trainer steps and saves it."""
        return self._surroundings.shared if self._surroundings.steps_shared else None

    def _one_iteration(self) -> float:
        position, photo = self._next_photo()
        self.field.raise_sh_degree(sh_degree_at(self.settings, self.iteration, self._num_views))
        result = training_step(
            self.field,
            self.exposure,
            photo,
            position,
            StepContext(
                settings=self.settings,
                iteration=self.iteration,
                scene_scale=self.scene_scale,
                generator=self._generator,
                drop_share=drop_share_at(self.settings, self._num_views),
                backdrop=self._surroundings.backdrop,
                terms=self._surroundings.terms,
                held=self._find_held(),
                block_weight=self.block_weight,
            ),
        )
        if self._owned_decoder is not None and result.is_finite:
            self._owned_decoder.step(self._owned_decoder.take_gradient())
        self.iteration += 1
        due = self.iteration % FINITE_CHECK_EVERY == 0 or self._is_checkpoint_due()
        if not result.is_finite or (due and not self._is_finite()):
            self._roll_back(position)
        return result.loss

    def _is_finite(self) -> bool:
        decoder = self._owned_decoder
        return self.field.find_nonfinite() is None and (decoder is None or decoder.is_finite())

    def _find_held(self) -> Tensor | None:
        """The auxiliary Gaussians, in every second iteration of the second half: they have nothing to settle for."""
        region, iteration = self._surroundings.region, self.iteration
        if region is None or 2 * iteration < self.settings.iterations or iteration % 2 == 0:
            return None
        return ~region(self.field.centers())

    def _next_photo(self) -> tuple[int, TrainingImage]:
        """The next training view whose photograph can be read; one that cannot is left out from then on."""
        while True:
            position = self._next_position()
            try:
                return position, self._loader.load(self._train_views[position])
            except InputError as error:
                if len(self._skipped) + 1 >= len(self._train_views):
                    raise
                self._reporter.note(f"{error}; training goes on without this view", level="warning")
                self._skipped.append(position)
                self._order = self._order[self._order != position]

    def _next_position(self) -> int:
        """The next training view: every view once, in a new random order each time round."""
        if len(self._order) == 0:
            usable = torch.tensor([i for i in range(len(self._train_views)) if i not in self._skipped])
            self._order = usable[torch.randperm(len(usable), generator=self._generator)]
        self._loader.prefetch([self._train_views[i] for i in self._order[1 : 1 + PREFETCH].tolist()])
        position, self._order = int(self._order[0]), self._order[1:]
        return position

    def _change_density(self) -> None:
        report = self.field.change_density(
            self.settings,
            scene_scale=self.scene_scale,
            generator=self._generator,
            region=self._surroundings.region,
        )
        logger.debug("iteration %d: %s, %d Gaussians", self.iteration, report, self.field.num_gaussians)

    def _roll_back(self, position: int) -> None:
        """Returns to the last checkpoint and leaves the view that broke the run out from then on."""
        state = self._hooks.load() if self._hooks.load else None
        name = self._loader.view_name(self._train_views[position])
        self._rollbacks += 1
        if state is None or self._rollbacks > MAX_ROLLBACKS or len(self._skipped) + 1 >= len(self._train_views):
            raise Diverged(
                f"training left the finite numbers at iteration {self.iteration}",
                where=name,
                remedy="look at this photograph, or lower the step sizes (--optimizer.means-lr)",
            )
        skipped = [*self._skipped, position]
        self._reporter.note(
            f"iteration {self.iteration}: numbers left the finite range at {name}; "
            f"back to iteration {state[1]['iteration']}, without this view",
            level="warning",
        )
        self.restore(state)
        self._skipped = skipped
        self._order = self._order[~torch.isin(self._order, torch.tensor(skipped))]

    def _report(self, loss: float) -> None:
        figures: dict[str, float] = {"loss": loss, "gaussians": self.field.num_gaussians}
        every = self.settings.eval_every
        if self._hooks.look and every and (self.iteration % every == 0 or self.iteration == self.settings.iterations):
            figures |= self._hooks.look(self.iteration, self.field)
        self._reporter.advance(self._surroundings.stage, self.iteration, **figures)

    def _is_checkpoint_due(self) -> bool:
        return self.iteration % self.settings.checkpoint_every == 0 or self.iteration == self.settings.iterations

    def _save(self) -> None:
        if self._hooks.save:
            self._hooks.save(*self.state())
