"""Names and colours of labels, as labelmap.txt lists them for VOC and CVAT, and masks in these.

Parts and actions, of which a line may list some, are empty here.
"""

from collections.abc import Mapping

import numpy as np

from diffumask.draw import voc_palette
from diffumask.errors import InputError
from diffumask.labelled.names import COMMENT
from diffumask.types import BACKGROUND, BACKGROUND_ID, IGNORE, IGNORE_ID, ClassMap, Image, name_key


def label_names(class_ids: Mapping[str, int]) -> dict[int, str]:
    """Name every value of a class map: background, the classes, and "ignore" for 255.

    Raises InputError for a class that goes by one of those two names.
    """
    for name in class_ids:
        if name_key(name) in (BACKGROUND, IGNORE):
            raise InputError(
                f"expected classes other than {BACKGROUND} and {IGNORE}, got {name!r}; choose "
                "another format"
            )
    named = {class_id: name for name, class_id in class_ids.items()}
    return {BACKGROUND_ID: BACKGROUND, **named, IGNORE_ID: IGNORE}


def write_labelmap(class_ids: Mapping[str, int]) -> str:
    """Write labelmap.txt with the VOC colours. Raises InputError for names it cannot hold."""
    lines = ["# label:color_rgb:parts:actions"]
    for value, name in label_names(class_ids).items():
        if name != name.strip() or not name.isprintable() or ":" in name or name[0] == COMMENT:
            raise InputError(
                f"expected class names without ':', '#' in front or line breaks, got {name!r}; "
                "choose another format"
            )
        lines.append(f"{name}:{','.join(map(str, voc_palette()[value]))}::")
    return "\n".join(lines) + "\n"


def hex_colour(value: int) -> str:
    """Return the colour of a value as #rrggbb."""
    return f"#{bytes(voc_palette()[value]).hex()}"


def paint(class_map: ClassMap) -> Image:
    """Colour a class map as `write_labelmap` says."""
    return voc_palette()[class_map]


def unpaint(
    painted: Image, values: Mapping[str, int | None], colours: Mapping[str, tuple[int, int, int]]
) -> ClassMap:
    """Turn colours into the value of their label.

    Raises InputError for a colour of no label, or of one whose value is None.
    """
    table = {red << 16 | green << 8 | blue: name for name, (red, green, blue) in colours.items()}
    wide = painted.astype(np.int64)
    keys, inverse = np.unique(
        wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], return_inverse=True
    )
    found: list[int] = []
    for key in map(int, keys):
        name = table.get(key)
        value = BACKGROUND_ID if name is None and key == 0 else values.get(name or "")
        if value is None:
            rgb = ",".join(str(key >> shift & 255) for shift in (16, 8, 0))
            got = f"the label {name!r}" if name is not None else f"the colour {rgb}"
            raise InputError(f"expected labels of the dataset in a mask, got {got}; mend it")
        found.append(value)
    return np.array(found, np.uint8)[inverse.reshape(painted.shape[:2])]
