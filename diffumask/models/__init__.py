"""Models by name, folder or hub id. The only package that loads checkpoints.

Functions are imported when they are first asked for: which models there are is told without torch.
"""

from typing import TYPE_CHECKING

from diffumask.on_demand import on_demand

if TYPE_CHECKING:
    from .cached import cached_spec as cached_spec
    from .cached import cached_specs as cached_specs
    from .cached import offline as offline
    from .devices import DTYPES as DTYPES
    from .devices import find_device as find_device
    from .devices import find_dtype as find_dtype
    from .devices import free_bytes as free_bytes
    from .diffusion import load as load
    from .diffusion import load_autoencoder as load_autoencoder
    from .known import MODELS as MODELS
    from .loading import Loading as Loading
    from .progress_bars import progress_bars_off as progress_bars_off
    from .registry import HUB_ID as HUB_ID
    from .registry import check_place as check_place
    from .registry import fingerprint as fingerprint
    from .registry import model_name as model_name
    from .registry import resolve as resolve
    from .registry import stamp as stamp
    from .registry import text_width as text_width
    from .registry import vae_fingerprint as vae_fingerprint
    from .segmenters import load_clipseg as load_clipseg
    from .segmenters import load_sam3 as load_sam3
    from .segmenters import load_sam_model as load_sam_model
    from .segmenters import load_segmenter as load_segmenter
    from .segmenters import load_trainable as load_trainable
    from .spec import ModelSpec as ModelSpec
    from .text import load_language_model as load_language_model
    from .text import load_text_encoder as load_text_encoder
    from .text import load_tokenizer as load_tokenizer

_MODULES = {
    "DTYPES": "devices",
    "HUB_ID": "registry",
    "Loading": "loading",
    "MODELS": "known",
    "ModelSpec": "spec",
    "cached_spec": "cached",
    "cached_specs": "cached",
    "offline": "cached",
    "check_place": "registry",
    "find_device": "devices",
    "find_dtype": "devices",
    "free_bytes": "devices",
    "fingerprint": "registry",
    "load": "diffusion",
    "load_autoencoder": "diffusion",
    "load_clipseg": "segmenters",
    "load_language_model": "text",
    "load_sam3": "segmenters",
    "load_sam_model": "segmenters",
    "load_segmenter": "segmenters",
    "load_text_encoder": "text",
    "load_tokenizer": "text",
    "load_trainable": "segmenters",
    "model_name": "registry",
    "progress_bars_off": "progress_bars",
    "resolve": "registry",
    "stamp": "registry",
    "text_width": "registry",
    "vae_fingerprint": "registry",
}

__getattr__ = on_demand(__name__, _MODULES)
