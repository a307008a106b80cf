"""Which networks of diffusers are read, and that the others are refused by name."""

import diffusers
import pytest

from diffumask.attention.families import NETWORKS, network_of
from diffumask.errors import InputError

REFUSED = """AuraFlowTransformer2DModel BriaTransformer2DModel CogView4Transformer2DModel
ErnieImageTransformer2DModel Flux3Transformer2DModel HiDreamImageTransformer2DModel
HunyuanImageTransformer2DModel Ideogram4Transformer2DModel Kandinsky6Transformer3DModel
Krea2Transformer2DModel
LongCatImageTransformer2DModel Lumina2Transformer2DModel
QwenImage21Transformer2DModel WanTransformer3DModel"""


def test_the_known_networks_are_in_diffusers() -> None:
    assert [name for name in NETWORKS if not hasattr(diffusers, name)] == []


@pytest.mark.parametrize("name", REFUSED.split())
def test_other_networks_are_refused_by_name(name: str) -> None:
    assert name not in NETWORKS
    kind = getattr(diffusers, name)
    with pytest.raises(InputError) as refused:
        network_of(kind.__new__(kind), None)
    assert f"got {name}, which cannot be captured" in str(refused.value)
    assert "\n" not in str(refused.value)
