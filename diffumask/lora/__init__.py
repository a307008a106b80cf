"""LoRA (Hu et al. 2022): teach a model a domain by small matrices beside its attention layers."""

from diffumask.lora.apply import lora_applied as lora_applied
from diffumask.lora.captioned import Captioned as Captioned
from diffumask.lora.captioned import read_captioned as read_captioned
from diffumask.lora.file import LoraFile as LoraFile
from diffumask.lora.file import read_lora as read_lora
from diffumask.lora.training import LoraSettings as LoraSettings
from diffumask.lora.training import train_lora as train_lora
