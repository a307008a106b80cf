"""Write augmented items as a dataset folder of their own."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from diffumask.cores import n_cores
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.names import item_name
from diffumask.dataset.pair import class_ids
from diffumask.dataset.writer import Store
from diffumask.types import BACKGROUND_ID, IGNORE_ID, ClassMap, Example, Prompt

from .compose import Augmented, AugmentSettings, augment_item

# Items belong to no class, and their files can lie beside those of their sources.
ITEMS_OF = "augmented"
JOINT = " | "


def identity(source: Dataset, settings: AugmentSettings, seed: int) -> dict[str, Any]:
    """Return the settings of run.json: those of the source and all that items depend on."""
    own = {
        **settings.shares(),
        "size_hw": settings.size_hw,
        "seed": seed,
        "source_items": len(source),
        "source_names": source.digest(),
    }
    named = {f"augment_{key}": value for key, value in own.items()}
    return {**source.run.settings, "keep_maps": False, **named}


def sized(settings: AugmentSettings, source: Dataset) -> AugmentSettings:
    """Fill in the size of the first item where none is asked for."""
    return replace(settings, size_hw=settings.size_hw or source.size_hw)


def write_scenes(
    source: Dataset, store: Store, n: int, settings: AugmentSettings, seed: int
) -> Iterator[Example]:
    """Make and write those of `n` items that the folder lacks, and yield each once it is written.

    Items are made in threads, some ahead of the one that is written.
    """
    workers = n_cores()
    missing = (i for i in range(n) if item_name(ITEMS_OF, i) not in store.records)
    with ThreadPoolExecutor(workers) as pool:

        def submit(index: int) -> tuple[int, Future[Augmented]]:
            return index, pool.submit(augment_item, index, source.read, len(source), settings, seed)

        ahead = deque(map(submit, islice(missing, 2 * workers)))
        while ahead:
            index, future = ahead.popleft()
            augmented = future.result()
            ahead.extend(map(submit, islice(missing, 1)))
            example = Example(
                scene_prompt(
                    [source.records[position].prompt for position in augmented.sources],
                    augmented.pair.class_map,
                ),
                augmented.seed,
                augmented.pair.image,
                augmented.pair.class_map,
            )
            store.write(item_name(ITEMS_OF, index), example, _facts(index, augmented, source))
            yield example


def scene_prompt(prompts: Sequence[Prompt], class_map: ClassMap) -> Prompt:
    """Describe a scene in the words of its sources, each prompt once, joined by " | ".

    Its targets are one of each class that the map shows and a source names, in the order of the
    sources; if it shows none, those of the first source. Sub-class and context stay where all
    sources have the same.
    """
    texts = dict.fromkeys(prompt.text for prompt in prompts)
    named = {
        target.class_id: target for prompt in reversed(prompts) for target in prompt.targets[::-1]
    }
    order = dict.fromkeys(target.class_id for prompt in prompts for target in prompt.targets)
    visible = set(class_ids(class_map))
    targets = tuple(named[class_id] for class_id in order if class_id in visible)
    sub_classes = {prompt.sub_class for prompt in prompts}
    contexts = {prompt.context for prompt in prompts}
    return Prompt(
        JOINT.join(texts),
        targets or prompts[0].targets,
        sub_classes.pop() if len(sub_classes) == 1 else "",
        contexts.pop() if len(contexts) == 1 else "",
    )


def _facts(index: int, augmented: Augmented, source: Dataset) -> dict[str, Any]:
    class_map = augmented.pair.class_map
    foreground = (class_map != BACKGROUND_ID) & (class_map != IGNORE_ID)
    return {
        "index": index,
        "sources": [source.records[position].name for position in augmented.sources],
        "operations": list(augmented.operations),
        "foreground": round(float(foreground.mean()), 6),
    }
