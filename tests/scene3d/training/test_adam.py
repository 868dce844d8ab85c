"""Row-wise Adam against torch's own, and against itself with rows left out."""

import torch

from scene3d.training.adam import AdamConstants, RowAdam


def _random(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_with_every_row_visible_it_is_torch_adam() -> None:
    start = _random((7, 4, 3), 0)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    adam = RowAdam({"sh": ours}, AdamConstants(epsilon=1e-8))
    peer = torch.optim.Adam([theirs], lr=0.01, eps=1e-8)
    for step in range(20):
        ours.grad = _random((7, 4, 3), step + 1)
        theirs.grad = ours.grad.clone()
        adam.step({"sh": ours}, {"sh": 0.01}, torch.ones(7, dtype=torch.bool))
        peer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_rows_out_of_sight_keep_every_bit() -> None:
    value = _random((5, 3), 0).requires_grad_()
    before = value.detach().clone()
    adam = RowAdam({"means": value})
    value.grad = _random((5, 3), 1)
    visible = torch.tensor([True, False, True, False, False])
    adam.step({"means": value}, {"means": 0.1}, visible)
    assert torch.equal(value.detach()[~visible], before[~visible])
    assert not torch.equal(value.detach()[visible], before[visible])
    assert adam.row_steps.tolist() == [1, 0, 1, 0, 0]


def test_a_row_first_seen_late_moves_by_one_step_size() -> None:
    value = torch.zeros(2, 3).requires_grad_()
    adam = RowAdam({"means": value})
    for _ in range(50):
        value.grad = torch.ones(2, 3)
        adam.step({"means": value}, {"means": 0.1}, torch.tensor([True, False]))
    value.grad = torch.full((2, 3), 7.0)
    adam.step({"means": value}, {"means": 0.1}, torch.tensor([False, True]))
    torch.testing.assert_close(value.detach()[1], torch.full((3,), -0.1))


def test_columns_have_their_own_rate_and_decay() -> None:
    value = torch.ones(3, 2).requires_grad_()
    adam = RowAdam({"sh": value})
    value.grad = torch.zeros(3, 2)
    adam.step({"sh": value}, {"sh": [0.5, 0.5]}, torch.ones(3, dtype=torch.bool), {"sh": [0.0, 0.2]})
    torch.testing.assert_close(value.detach(), torch.tensor([[1.0, 0.9]]).expand(3, 2))


def test_fresh_rows_forget_their_history() -> None:
    value = _random((3, 2), 0).requires_grad_()
    adam = RowAdam({"means": value})
    value.grad = torch.ones(3, 2)
    adam.step({"means": value}, {"means": 0.1}, torch.ones(3, dtype=torch.bool))
    adam.take(torch.tensor([2, 0, 0]), torch.tensor([False, False, True]))
    assert adam.row_steps.tolist() == [1, 1, 0]
    assert float(adam.moments["means"].first[2].abs().sum()) == 0
    assert float(adam.moments["means"].first[0].abs().sum()) > 0
