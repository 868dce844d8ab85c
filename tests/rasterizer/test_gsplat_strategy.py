"""gsplat's own densification, unchanged, on our backends: what it needs of meta is there and means what it means."""

from typing import Any

import pytest
import torch
from gsplat import DefaultStrategy
from gsplat.strategy.ops import reset_opa
from torch import Tensor

from rasterizer import rasterization
from tests.rasterizer.scenes import BACKENDS, Scene, make_scene, require_backend

SEEN_OPACITY_LOGIT = 0.0
FAINT_OPACITY_LOGIT = -7.0
NUM_FAINT = 6


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


class Training:
    """A few Gaussians learning a picture, with gsplat's strategy in charge of their number."""

    def __init__(self, backend: str, strategy: DefaultStrategy, *, packed: bool) -> None:
        self.scene = make_scene(0, num=36, cameras=2, width=24, height=18, sh_degree=1)
        self.backend, self.strategy, self.packed = backend, strategy, packed
        self.params = torch.nn.ParameterDict(starting_params(self.scene))
        self.optimizers = {name: torch.optim.Adam([value], lr=0.01) for name, value in self.params.items()}
        self.target = make_scene(1, num=40, cameras=2, width=24, height=18, sh_degree=1).render(backend)[0]
        self.state = strategy.initialize_state(scene_scale=10.0)
        self.counts: list[int] = []

    def step(self, step: int) -> float:
        colors, info = self.render()
        self.strategy.step_pre_backward(self.params, self.optimizers, self.state, step, info)
        loss = (colors - self.target).abs().mean()
        loss.backward()
        self.strategy.step_post_backward(self.params, self.optimizers, self.state, step, info, packed=self.packed)
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        self.counts.append(len(self.params["means"]))
        return loss.item()

    def render(self) -> tuple[Tensor, dict[str, Any]]:
        colors, _, info = rasterization(
            self.params["means"],
            self.params["quats"],
            self.params["scales"].exp(),
            self.params["opacities"].sigmoid(),
            self.params["sh"],
            self.scene.viewmats,
            self.scene.Ks,
            self.scene.width,
            self.scene.height,
            sh_degree=1,
            packed=self.packed,
            absgrad=self.strategy.absgrad,
            backend=self.backend,
        )
        return colors, info


def starting_params(scene: Scene) -> dict[str, torch.nn.Parameter]:
    opacities = torch.full((len(scene.means),), SEEN_OPACITY_LOGIT)
    opacities[-NUM_FAINT:] = FAINT_OPACITY_LOGIT
    values = {"means": scene.means, "quats": scene.quats, "scales": scene.scales.log(), "sh": scene.sh}
    return {name: torch.nn.Parameter(value.clone()) for name, value in (values | {"opacities": opacities}).items()}


@pytest.mark.parametrize("absgrad", [False, True], ids=["grad", "absgrad"])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_gaussians_are_added_and_removed_while_the_picture_is_learnt(backend: str, packed: bool, absgrad: bool) -> None:
    strategy = DefaultStrategy(refine_start_iter=5, refine_every=10, refine_stop_iter=25, absgrad=absgrad)
    training = Training(backend, strategy, packed=packed)
    strategy.check_sanity(training.params, training.optimizers)
    losses = [training.step(step) for step in range(11)]
    assert training.counts[9] == 36
    assert training.counts[10] > 36 - NUM_FAINT, "something was added"
    assert int((training.params["opacities"] < FAINT_OPACITY_LOGIT + 1).sum()) == 0, "the faint were removed"
    reset_opa(training.params, training.optimizers, training.state, value=0.3)
    assert training.params["opacities"].sigmoid().max().item() <= 0.3 + 1e-6
    losses += [training.step(step) for step in range(11, 32)]
    assert len(set(training.counts[10:])) > 1, "numbers change at later rounds as well"
    assert min(losses[-5:]) < 0.85 * losses[0]
    assert all(bool(value.isfinite().all()) for value in training.params.values())


@pytest.mark.parametrize("absgrad", [False, True], ids=["grad", "absgrad"])
def test_both_layouts_gather_the_same_statistics(backend: str, absgrad: bool) -> None:
    states = []
    for packed in (False, True):
        strategy = DefaultStrategy(refine_start_iter=100, refine_scale2d_stop_iter=100, absgrad=absgrad)
        training = Training(backend, strategy, packed=packed)
        for step in range(3):
            training.step(step)
        states.append(training.state)
    for name in ("grad2d", "count", "radii"):
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-3, atol=1e-6)
        assert bool(states[0][name].any())
    assert float(states[0]["count"].max()) == 6, "two cameras, three steps"


def test_backends_gather_the_same_statistics() -> None:
    states = []
    for name in BACKENDS:
        training = Training(require_backend(name), DefaultStrategy(absgrad=True), packed=False)
        training.step(0)
        states.append(training.state)
    torch.testing.assert_close(states[0]["grad2d"], states[1]["grad2d"], rtol=1e-3, atol=1e-6)
    assert torch.equal(states[0]["count"], states[1]["count"])
