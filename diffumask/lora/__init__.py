"""LoRA (Hu et al. 2022): teach a model a domain by small matrices beside its attention layers."""

from .apply import lora_applied as lora_applied
from .captioned import Captioned as Captioned
from .captioned import read_captioned as read_captioned
from .file import LoraFile as LoraFile
from .file import read_lora as read_lora
from .training import LoraSettings as LoraSettings
from .training import train_lora as train_lora
