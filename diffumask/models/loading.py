"""How a pipeline is loaded beside its files: with less memory, faster, by another scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError, reason

from .families import UNET_CLASS, Family
from .quantization import INT8, LIBRARIES, check_quantization, quantizations
from .schedulers import SCHEDULERS, make_scheduler

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

MODEL, SEQUENTIAL = "model", "sequential"
OFFLOADS = (MODEL, SEQUENTIAL)
QUANTIZATIONS = tuple(LIBRARIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What saves memory or time, and which scheduler there is; None and False are the model's own.

    `offload` has weights wait on the CPU: of each "model" of the pipeline, or "sequential", of
    each layer. `quantize` is "int8" or "nf4". With `vae_tiling` images are decoded one by one, and
    large ones in tiles. `scheduler` is a name of `SCHEDULERS`. With `compile` a UNet is compiled by
    torch when it is first called; with `channels_last` convolutions of network and VAE have their
    weights in that order.
    Raises InputError for what is unknown, and what does not go together.
    """

    offload: str | None = None
    quantize: str | None = None
    vae_tiling: bool = False
    scheduler: str | None = None
    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        known: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
            "offload": (self.offload, OFFLOADS),
            "quantize": (self.quantize, QUANTIZATIONS),
            "scheduler": (self.scheduler, SCHEDULERS),
        }
        for name, (value, values) in known.items():
            if value is not None and value not in values:
                raise InputError(f"expected {' or '.join(values)} as {name}, got {value!r}")
        if self.quantize and self.offload == SEQUENTIAL:
            raise InputError(
                f"expected offload {MODEL} beside quantize, got {SEQUENTIAL}, which takes quantized"
                " weights apart"
            )
        if self.compile and (self.offload or self.quantize):
            other = "offload" if self.offload else "quantize"
            raise InputError(
                f"expected compile with weights that stay as they are, got {other} beside it; leave"
                " one of the two out"
            )

    def describe(self) -> dict[str, Any]:
        """Return what pictures depend on; nothing of a default, as earlier versions wrote none."""
        told = {
            "quantize": self.quantize,
            "vae_tiling": self.vae_tiling,
            "scheduler": self.scheduler,
            "compile": self.compile,
            "channels_last": self.channels_last,
        }
        return {name: value for name, value in told.items() if value}

    def check_device(self, device_type: str) -> None:
        """Raise InputError for what a device cannot do, and for a library that is missing."""
        if self.offload and device_type == "cpu":
            raise InputError(
                "expected an accelerator to offload weights from, got cpu, which holds them; leave"
                " offload out"
            )
        if self.quantize:
            check_quantization(self.quantize, device_type)

    def check_family(self, family: Family) -> None:
        """Raise InputError for what a kind of model cannot be loaded with."""
        if self.compile and family.network != UNET_CLASS:
            raise InputError(
                f"expected a UNet to compile, got {family.network}, whose attention is read when"
                " it is called; leave compile out"
            )

    def find_dtype(
        self, dtype: str, device: "torch.device", half: str = "float16"
    ) -> "torch.dtype":
        """Return the number type of that name as `devices.find_dtype`; not float16 with int8.

        Products with weights of int8 are scaled only afterwards, and overflow in it.
        """
        from .devices import find_dtype

        if self.quantize == INT8 and dtype == "float16":
            raise InputError(
                f"expected dtype bfloat16 or float32 with quantize {INT8}, got float16, in which it"
                " overflows"
            )
        return find_dtype(dtype, device, "bfloat16" if self.quantize == INT8 else half)

    def quantizations(self, index: Mapping[str, Any], dtype: "torch.dtype") -> dict[str, Any]:
        """Return the configuration of each part that is quantized, by its name."""
        return quantizations(self.quantize, index, dtype) if self.quantize else {}

    def apply(self, pipe: Any, device: "torch.device") -> None:
        """Change a pipeline that lies on the CPU, and bring it to a device or have it wait."""
        if self.scheduler:
            pipe.scheduler = make_scheduler(self.scheduler, pipe.scheduler)
        if self.vae_tiling:
            _tile(pipe.vae)
        if self.channels_last:
            _order_channels_last(pipe)
        if self.offload == MODEL:
            pipe.enable_model_cpu_offload(device=device)
        elif self.offload == SEQUENTIAL:
            pipe.enable_sequential_cpu_offload(device=device)
        else:
            pipe.to(device)
        if self.compile:
            _compile(pipe.unet, device)


def _tile(vae: Any) -> None:
    if not hasattr(vae, "enable_tiling"):
        raise InputError(f"expected a VAE that decodes in tiles, got {type(vae).__name__}")
    vae.enable_tiling()
    if hasattr(vae, "enable_slicing"):
        vae.enable_slicing()


def _order_channels_last(pipe: Any) -> None:
    import torch  # it takes seconds

    network = getattr(pipe, "unet", None) or pipe.transformer
    for weight in (*network.parameters(), *pipe.vae.parameters()):
        if weight.dim() == 4:  # those of videos have five, and no such order
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _compile(network: Any, device: "torch.device") -> None:
    """Have a network compiled in place at its first call; try now whether anything can be."""
    import torch

    try:
        torch.compile(lambda number: number.sin() + 1)(torch.ones(2, device=device))
    except RuntimeError as error:
        raise InputError(
            f"expected a compiler for torch.compile on {device.type} (g++, or Triton on a GPU), got"
            f" none: {reason(error)}; leave compile out"
        ) from error
    network.compile()
