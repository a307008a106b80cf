"""What a computation on a CPU asks of the C library."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

import diffumask.heap
from diffumask.heap import keep_heap
from diffumask.models import load, resolve
from diffumask.training import Schedule, train

OPTIONS = {-4: 0}


@pytest.fixture
def asked(monkeypatch):
    """What malloc is told: nothing that it does."""
    told = []
    library = SimpleNamespace(mallopt=lambda *option: told.append(option))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(diffumask.heap, "OPTIONS", OPTIONS)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    return told


def test_only_glibc_is_told(asked, monkeypatch):
    keep_heap()
    assert asked == list(OPTIONS.items())
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    keep_heap()
    assert len(asked) == 1


def test_a_model_on_the_cpu_and_a_training_there_keep_their_memory(asked, tiny_random_folder):
    load(resolve(str(tiny_random_folder)), "cpu")
    assert len(asked) == 1
    layer = torch.nn.Linear(1, 1)
    train(layer, lambda _: layer(torch.ones(1, 1)).sum(), Schedule(1, 1e-3))
    assert len(asked) == 2
