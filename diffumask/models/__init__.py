"""Models by name, folder or hub id. The only package that loads checkpoints."""

from diffumask.models.devices import DTYPES as DTYPES
from diffumask.models.devices import find_device as find_device
from diffumask.models.devices import progress_bars_off as progress_bars_off
from diffumask.models.diffusion import load as load
from diffumask.models.diffusion import load_autoencoder as load_autoencoder
from diffumask.models.registry import HUB_ID as HUB_ID
from diffumask.models.registry import MODELS as MODELS
from diffumask.models.registry import ModelSpec as ModelSpec
from diffumask.models.registry import fingerprint as fingerprint
from diffumask.models.registry import resolve as resolve
from diffumask.models.registry import vae_fingerprint as vae_fingerprint
from diffumask.models.segmenters import load_clipseg as load_clipseg
from diffumask.models.segmenters import load_sam_model as load_sam_model
from diffumask.models.segmenters import load_segmenter as load_segmenter
from diffumask.models.segmenters import load_trainable as load_trainable
from diffumask.models.text import load_language_model as load_language_model
from diffumask.models.text import load_text_encoder as load_text_encoder
from diffumask.models.text import load_tokenizer as load_tokenizer
