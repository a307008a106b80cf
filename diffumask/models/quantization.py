"""Weights in fewer bits, by the libraries that diffusers and transformers quantize with."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from diffumask.errors import InputError

INT8, NF4 = "int8", "nf4"
LIBRARIES = {INT8: "torchao", NF4: "bitsandbytes"}
DENOISERS = ("unet", "transformer")
SMALL_ENCODER = "CLIP"  # a hundredth of the weights, which all of the picture hangs on


def check_quantization(kind: str, device_type: str) -> None:
    """Raise InputError where the library is missing, and for what cannot be had on a device."""
    if kind == NF4 and device_type == "cpu":
        raise InputError(
            f"expected an accelerator to quantize to {NF4}, got cpu; quantize to {INT8}"
        )
    if find_spec(LIBRARIES[kind]) is None:
        raise InputError(
            f"expected the library {LIBRARIES[kind]} to quantize to {kind}, got none; "
            "pip install 'diffumask[quantize]'"
        )


def quantizations(kind: str, index: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return the configuration of each part of a model that is quantized.

    `index` is that of the model: library and class of each part. These are the network that
    denoises and large text encoders, never the VAE, whose errors are seen in every pixel.
    """
    made: dict[str, Any] = {}
    for name, part in index.items():
        if name in DENOISERS:
            made[name] = _config("diffusers", kind, dtype)
        elif name.startswith("text_encoder") and not str(part[1]).startswith(
            (SMALL_ENCODER, "None")
        ):
            made[name] = _config("transformers", kind, dtype)
    return made


def _config(library: str, kind: str, dtype: Any) -> Any:
    import diffusers
    import transformers

    configs: Any = diffusers if library == "diffusers" else transformers
    if kind == NF4:
        return configs.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=NF4, bnb_4bit_compute_dtype=dtype
        )
    torchao: Any = import_module("torchao.quantization")  # where the extra is installed
    return configs.TorchAoConfig(torchao.Int8WeightOnlyConfig())
