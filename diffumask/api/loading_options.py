"""Which weights of a model are loaded, and how: options of all that load one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from . import values
from .model_options import DeviceOptions
from .option import MACHINES, MODEL, Option, Options

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.models import Loading, ModelSpec


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """Which of the weights that a model has."""

    PANEL = MODEL

    revision: Annotated[
        str | None, Option("Branch, tag or commit of a model of the hub.", default="main")
    ] = None
    variant: Annotated[
        str | None,
        Option("Weights of several that a model has, such as fp16.", default="those without name"),
    ] = None

    def find_model(self, model: str) -> "ModelSpec":
        """Find a model with these weights; raises as `models.resolve`."""
        from diffumask.models import resolve

        return resolve(model, self.revision, self.variant)

    def describe_checkpoint(self) -> dict[str, str]:
        """Return what was chosen, for run.json; nothing where nothing was."""
        told = {"revision": self.revision, "variant": self.variant}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class LoadingOptions(CheckpointOptions, DeviceOptions):
    """How a pipeline is loaded; what is left out is as the model has it."""

    PANEL = MODEL

    scheduler: Annotated[
        str | None,
        Option(
            "Scheduler, such as ddim, euler, dpm++-karras, unipc.",
            default="the model's",
            values=values.SCHEDULERS,
        ),
    ] = None
    quantize: Annotated[
        str | None,
        Option(
            "Weights in 8 or 4 bits: int8 or nf4.",
            default="none",
            values=values.QUANTIZATIONS,
            panel=MACHINES,
        ),
    ] = None
    offload: Annotated[
        str | None,
        Option(
            "Weights wait in the machine's memory: model (of each part) or sequential (of each "
            "layer: least memory, slow).",
            default="none",
            values=values.OFFLOADS,
            panel=MACHINES,
        ),
    ] = None
    vae_tiling: Annotated[
        bool,
        Option("Decode images one by one, and large ones in tiles.", panel=MACHINES),
    ] = False

    compile: Annotated[
        bool,
        Option(
            "Compile the UNet: minutes before the first image, then faster on a GPU.",
            panel=MACHINES,
        ),
    ] = False
    channels_last: Annotated[
        bool, Option("Convolve with channels last, for GPUs with tensor cores.", panel=MACHINES)
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.loading

    @property
    def loading(self) -> "Loading":
        """How a pipeline is loaded; raises InputError as `Loading`."""
        from diffumask.models.loading import Loading

        return Loading(
            offload=self.offload,
            quantize=self.quantize,
            vae_tiling=self.vae_tiling,
            scheduler=self.scheduler,
            compile=self.compile,
            channels_last=self.channels_last,
        )

    def find_model(self, model: str) -> "ModelSpec":
        """Find a model that can be loaded so; raises as `models.resolve` too."""
        spec = super().find_model(model)
        self.loading.check_family(spec.family)
        return spec

    def describe_loading(self) -> dict[str, Any]:
        """Return what pictures depend on, for run.json; nothing where nothing was chosen."""
        return self.describe_checkpoint() | self.loading.describe()
