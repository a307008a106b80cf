"""LoRA (Hu et al. 2022): teach a model a domain by small matrices beside its attention layers.

Names are imported when they are first asked for: most load torch.
"""

from typing import TYPE_CHECKING

from diffumask.on_demand import on_demand

if TYPE_CHECKING:
    from .apply import lora_applied as lora_applied
    from .captioned import Captioned as Captioned
    from .captioned import read_captioned as read_captioned
    from .file import LoraFile as LoraFile
    from .file import read_lora as read_lora
    from .settings import LoraSettings as LoraSettings
    from .training import train_lora as train_lora

_MODULES = {
    "lora_applied": "apply",
    "Captioned": "captioned",
    "read_captioned": "captioned",
    "LoraFile": "file",
    "read_lora": "file",
    "LoraSettings": "settings",
    "train_lora": "training",
}

__getattr__ = on_demand(__name__, _MODULES)
