"""What a run will take: time, GPU memory and disk, each with where the figure comes from.

Nothing is loaded or started for it. Figures are of arithmetic or measured, never of a run to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffumask.articles import counted
from diffumask.models import Loading

BYTES_PER_WEIGHT = {"float32": 4, "float16": 2, "bfloat16": 2}
QUANTIZED_BYTES = {"int8": 1, "nf4": 0.5 + 4 / 64}  # of nf4 with a scale for each 64 weights
UTILIZATION = 0.35  # of the peak that is taken to be reached; 0.25 to 0.5 is usual
DECODER_MAPS = 3  # of DECODER_CHANNELS at full size: what the VAE's last block holds at a time
DECODER_CHANNELS = 256
IMAGE_BYTES_PER_PIXEL = 1.7  # of a PNG of a photograph; scenes of tiny have 1
MASK_BYTES_PER_PIXEL = 0.02
MASK_BYTES = 1000  # its palette and the line in metadata.jsonl
MAPS_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Model:
    """Arithmetic of a model at its size, in 10^12 operations, and its weights, in 10^9.

    `quantized_billion` are those of its weights that quantization makes smaller.
    """

    side_px: int
    step_tflop: float
    decode_tflop: float
    weights_billion: float
    quantized_billion: float


SD15 = Model(512, 0.803, 2.51, 1.07, 0.27)
SDXL = Model(1024, 6.761, 10.47, 3.47, 2.23)
# benchmarks/results/flops.md; those that are distilled are of the same arithmetic
MODELS: Mapping[str, Model] = {
    "sd15": SD15,
    "lcm": SD15,
    "sd21": Model(768, 2.149, 5.75, 1.29, 0.30),
    "sdxl": SDXL,
    "sdxl-turbo": SDXL,
    "sd3": Model(1024, 8.904, 10.47, 7.69, 6.66),
    "sd35": Model(1024, 11.250, 10.47, 7.91, 6.87),
    "sd35-large": Model(1024, 31.121, 10.47, 13.72, 12.68),
    "flux": Model(1024, 74.385, 10.47, 16.87, 16.53),
    "schnell": Model(1024, 74.385, 10.47, 16.86, 16.52),
    "chroma": Model(1024, 74.569, 10.47, 13.75, 13.53),
    "pixart": Model(1024, 6.634, 10.47, 5.46, 5.24),
    "sana": Model(1024, 2.967, 8.40, 4.58, 2.87),
    "flux2": Model(1024, 282.600, 10.47, 55.21, 54.45),
    "flux2-klein": Model(1024, 34.820, 10.47, 7.98, 7.51),
    "qwen-image": Model(1328, 131.682, 20.12, 27.63, 26.95),
}

# Peaks with dense float16 matrices, 10^12 operations a second, from the makers' data sheets.
GPUS: Mapping[str, float] = {
    "T4": 65,
    "V100": 125,
    "A10": 125,
    "L4": 121,
    "RTX 3090": 71,
    "RTX 4090": 165,
    "L40S": 362,
    "A100": 312,
    "H100": 989,
    "H200": 989,
}

# Memory by the same data sheets, in GiB; the smaller where a name has two.
GPU_GIB: Mapping[str, int] = {
    "T4": 16,
    "V100": 16,
    "A10": 24,
    "L4": 24,
    "RTX 3090": 24,
    "RTX 4090": 24,
    "L40S": 48,
    "A100": 40,
    "H100": 80,
    "H200": 141,
}

TINY_S = 0.38  # a 128x128 image of 20 steps in batches of 10, benchmarks/results/tiny_quality.md
TINY_STEPS, TINY_PIXELS = 20, 128 * 128


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, None where it cannot be told, and where it comes from."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Work:
    """What an image takes part in: sizes in pixels, and evaluations of the network for it."""

    model: str
    height: int
    width: int
    num_inference_steps: int
    guided: bool
    batch_size: int
    loading: Loading = field(default_factory=Loading)

    @property
    def pixels(self) -> int:
        """The size of an image."""
        return self.height * self.width


def seconds_per_image(work: Work, gpu: str | None = None, pace_s: float | None = None) -> Figure:
    """Estimate the time of an image: as given, as measured for `tiny`, or by arithmetic for a GPU.

    Arithmetic counts convolutions, which grow with the pixels; attention, which grows faster, is
    in it at the model's own size.
    """
    if pace_s is not None:
        return Figure(pace_s, "the pace given")
    if work.model == "tiny":
        share = work.num_inference_steps / TINY_STEPS * work.pixels / TINY_PIXELS
        return Figure(TINY_S * share, "measured on two CPU cores, tiny_quality.md")
    model = MODELS.get(work.model)
    if model is None or gpu is None:
        return Figure(None, "not known: give a pace, the seconds of an image, or a GPU")
    evaluations = work.num_inference_steps * (2 if work.guided else 1)
    tflop = evaluations * model.step_tflop + model.decode_tflop
    seconds = tflop * work.pixels / model.side_px**2 / (GPUS[gpu] * UTILIZATION)
    return Figure(
        seconds,
        f"arithmetic, not measured: {tflop:.0f} Tflop at the model's size, {UTILIZATION:.0%} of the"
        f" {GPUS[gpu]:g} Tflop/s of the data sheet of {gpu}",
    )


def weight_bytes(work: Work, dtype: str) -> float | None:
    """Return what the weights of a model take; None of an unknown one."""
    model = MODELS.get(work.model)
    if model is None:
        return None
    each, quantize = BYTES_PER_WEIGHT[dtype], work.loading.quantize
    weights = model.weights_billion * 1e9 * each
    if quantize:
        weights -= model.quantized_billion * 1e9 * (each - QUANTIZED_BYTES[quantize])
    return weights


def decoder_bytes(work: Work, dtype: str) -> int:
    """Return what the VAE's decoder holds for one image."""
    return DECODER_MAPS * DECODER_CHANNELS * BYTES_PER_WEIGHT[dtype] * work.pixels


def gpu_bytes(work: Work, dtype: str = "float16") -> Figure:
    """Estimate the memory of a batch: weights, and what the VAE's decoder holds for its images."""
    weights = weight_bytes(work, dtype)
    if weights is None:
        return Figure(None, "not known for this model")
    quantize, one_by_one = work.loading.quantize, work.loading.vae_tiling
    kinds = f"{quantize} and {dtype}" if quantize else dtype
    return Figure(
        weights + decoder_bytes(work, dtype) * (1 if one_by_one else work.batch_size),
        f"arithmetic, not measured: weights of {weights / 2**30:.1f} GiB in {kinds}, "
        f"{DECODER_MAPS} maps of {DECODER_CHANNELS} channels of the VAE for "
        + ("one image at a time" if one_by_one else "each image of a batch")
        + ("; less with offload, which is not counted" if work.loading.offload else ""),
    )


def item_bytes(work: Work, keep_maps: bool, made: tuple[int, int] = (0, 0)) -> Figure:
    """Estimate the disk space of an item; `made` are the items there are and their bytes."""
    count, size = made
    if count:
        return Figure(size / count, f"the mean of {counted(count, 'item')} there")
    size = work.pixels * (IMAGE_BYTES_PER_PIXEL + MASK_BYTES_PER_PIXEL) + MASK_BYTES
    return Figure(
        size + (MAPS_BYTES if keep_maps else 0),
        f"{IMAGE_BYTES_PER_PIXEL:g} bytes a pixel, usual for photographs as PNG",
    )
