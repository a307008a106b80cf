"""Machines without kernels for a number type compute in float32 instead."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from diffumask.api.model_options import DeviceOptions
from diffumask.models import precision
from diffumask.models.devices import find_dtype
from diffumask.models.precision import autocast_bfloat16, computes_in
from diffumask.segmentation.fitting import _dtype

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU whose kernels refuse long sequences of less than 32 bits."""
    attend = functional.scaled_dot_product_attention

    def refuse(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.dtype != torch.float32 and query.shape[-2] >= 64:
            raise RuntimeError("pack_vnni2 is only supported when avx512 is supported")
        return attend(query, key, value)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", refuse)
    precision.computes_in.cache_clear()
    yield
    precision.computes_in.cache_clear()


@pytest.mark.usefixtures("bare_machine")
def test_a_machine_without_kernels_computes_in_float32() -> None:
    assert not computes_in(torch.bfloat16, "cpu")
    assert computes_in(torch.float32, "cpu")
    assert find_dtype("bfloat16", CPU) == find_dtype("float16", CPU) == torch.float32
    assert {_dtype(name, CPU) for name in ("auto", "bfloat16", "float32")} == {torch.float32}
    with autocast_bfloat16(CPU):
        assert functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32


def test_what_a_machine_claims_to_compute_in_it_does() -> None:
    if not computes_in(torch.bfloat16, "cpu"):
        pytest.skip("no kernels for bfloat16")
    assert find_dtype("bfloat16", CPU) == _dtype("bfloat16", CPU) == torch.bfloat16
    x = torch.rand(2, 4, 300, 40, requires_grad=True)
    half = x.bfloat16()
    with autocast_bfloat16(CPU):
        attended = functional.scaled_dot_product_attention(half, half, half)
    attended.sum().backward()
    assert attended.dtype == torch.bfloat16


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_answer_does_not_depend_on_where_it_is_asked(context: type) -> None:
    precision.computes_in.cache_clear()
    with context():
        inside = computes_in(torch.bfloat16, "cpu")
    precision.computes_in.cache_clear()
    assert computes_in(torch.bfloat16, "cpu") == inside


def test_another_dtype_than_the_one_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "diffumask")
    DeviceOptions(dtype="auto").log_dtype("float32")
    DeviceOptions(dtype="float16").log_dtype("float16")
    assert not caplog.messages
    DeviceOptions(dtype="bfloat16").log_dtype("float32")
    assert caplog.messages == ["computing in float32, as this device has no kernels for bfloat16"]
