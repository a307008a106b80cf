"""Muon: what is orthogonal, which weights it is for, one step by one process or two."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_training import PowerCutError, run_in_two_processes
from torch import nn

from diffumask.training import Schedule, train
from diffumask.training.muon import RMS_OF_UPDATES, Muon, multiplies, orthogonal

pytestmark = pytest.mark.numeric


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = nn.Conv2d(4, 24, 3), nn.Conv2d(24, 20, 3), nn.Flatten(), nn.Linear(180, 17)
    return nn.Sequential(*parts)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (20, 20)])
def test_an_update_has_the_directions_of_the_matrix_and_one_length(shape):
    torch.manual_seed(1)
    matrices = torch.randn(2, *shape)
    for matrix, update in zip(matrices, orthogonal(matrices / 100).float(), strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        inside = left.T @ update @ right.T
        assert (inside.diag() - 1).abs().max() < 0.4
        assert (inside - inside.diag().diag()).abs().max() < 0.1


def test_weights_that_multiply_are_those_of_products_and_convolutions_but_the_smallest():
    inner: Any = network()
    model = nn.Sequential(inner, nn.Embedding(30, 20), nn.LayerNorm(20), nn.Linear(20, 4))
    first, second, third = inner[0].weight, inner[1].weight, inner[3].weight
    assert [id(one) for one in multiplies(model)] == [id(first), id(second), id(third)]
    second.requires_grad_(False)
    assert [id(one) for one in multiplies(model)] == [id(first), id(third)]


def test_a_step_has_the_same_length_whatever_the_gradient():
    for size in (1e-6, 1.0, 1e3):
        weight = nn.Parameter(torch.zeros(24, 4, 3, 3))
        weight.grad = size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        Muon([weight], learning_rate=0.01, weight_decay=0.0).step()
        assert weight.square().mean().sqrt().item() == pytest.approx(RMS_OF_UPDATES * 0.01, rel=0.2)


def test_a_matrix_without_a_gradient_stays():
    still, moved = (nn.Parameter(torch.ones(20, 20)) for _ in range(2))
    moved.grad = torch.eye(20)
    Muon([still, moved], learning_rate=0.1, weight_decay=0.1).step()
    assert (still == 1).all()
    assert (moved != 1).any()


def trained(folder, stop_at=None):
    model = network()

    def loss_at(step):
        if step == stop_at:
            raise PowerCutError
        inputs = torch.randn(4, 4, 7, 7, generator=torch.Generator().manual_seed(step))
        return (model(inputs) - inputs.mean()).square().mean()

    schedule = Schedule(9, 0.02, warmup_steps=2, checkpoint_every=4, log_every=3, muon=True)
    try:
        train(model, loss_at, schedule, folder)
    except PowerCutError:
        return trained(folder)
    return model.state_dict()


def test_resumed_training_equals_an_uninterrupted_one(tmp_path):
    cut, whole = trained(tmp_path / "cut", stop_at=6), trained(tmp_path / "whole")
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


def test_a_training_that_adam_began_goes_on(tmp_path):
    model = network()
    inputs = torch.randn(4, 4, 7, 7)

    def loss_at(step):
        return model(inputs).square().mean()

    train(model, loss_at, Schedule(4, 0.02), tmp_path)
    before = model.state_dict()["1.weight"].clone()
    assert train(model, loss_at, Schedule(6, 0.02, muon=True), tmp_path) == 6
    assert not torch.equal(model.state_dict()["1.weight"], before)


SHARED = """
import torch
from safetensors.torch import save_file
from torch import nn
from diffumask.training import Schedule, shared, train
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 24), nn.Tanh(), nn.Linear(24, 20), nn.Linear(20, 16))
call, rank, num_ranks = shared(model, torch.device("cpu"))

def loss_at(step):
    generator = torch.Generator().manual_seed(step * num_ranks + rank)
    inputs = torch.randn(8, 30, generator=generator)
    return (call(inputs) - inputs[:, :16]).square().mean()

each = 1 if num_ranks == 2 else 2
train(model, loss_at, Schedule(6, 0.05, warmup_steps=1, accumulation_steps=each, muon=True))
if rank == 0:
    save_file(dict(model.state_dict()), trained)
"""


def test_two_processes_take_the_step_of_one_that_accumulates(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    exec(SHARED, {"trained": one})
    run_in_two_processes(f"trained = {str(two)!r}\n{SHARED}", tmp_path)
    expected = load_file(one)
    for name, value in load_file(two).items():
        # orthogonal matrices are of bfloat16, so that a rounding of the sums may be a step of it
        assert torch.allclose(value, expected[name], atol=5e-3)
