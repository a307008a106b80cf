"""Which items a run makes, in which order, and the seed of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from diffumask.dataset.names import item_name
from diffumask.errors import InputError
from diffumask.seeds import item_seed


@dataclass(frozen=True, slots=True)
class Item:
    """An item to make: everything about it follows from its class, index and seed.

    `attempt` counts the times that it was drawn before, with other seeds.
    """

    class_name: str
    index: int
    seed: int
    attempt: int = 0

    @property
    def name(self) -> str:
        """The name of its files."""
        return item_name(self.class_name, self.index)

    def again(self) -> "Item":
        """Return the item with the next seed, which follows from this one, class and index."""
        seed = item_seed(self.seed, self.class_name, self.index)
        return replace(self, seed=seed, attempt=self.attempt + 1)


def plan(class_names: Sequence[str], n: int, run_seed: int) -> Iterator[Item]:
    """List `n` items of each class, the classes taking turns.

    Raises InputError for n <= 0 and for two classes whose files would have the same names.
    """
    if n <= 0:
        raise InputError(f"expected n >= 1, got {n}")
    owner_of: dict[str, str] = {}
    for class_name in class_names:
        owner = owner_of.setdefault(item_name(class_name, 0), class_name)
        if owner != class_name:
            raise InputError(
                f"expected classes whose files differ in name, got {owner!r} and {class_name!r}; "
                "drop one of them"
            )
    return (
        Item(class_name, index, item_seed(run_seed, class_name, index))
        for index in range(n)
        for class_name in owner_of.values()
    )
