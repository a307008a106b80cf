"""Seeds depend on everything that names an item, and on nothing else."""

from diffumask.seeds import item_seed


def test_seed_is_fixed_for_all_time():
    assert item_seed(0, "bird", 0) == 2213051045737695598


def test_every_part_of_the_name_counts():
    seeds = {item_seed(r, c, i) for r in (0, 1) for c in ("bird", "cat") for i in range(50)}
    assert len(seeds) == 200


def test_parts_do_not_run_together():
    assert item_seed(1, "1", 1) != item_seed(11, "", 1)


def test_seed_fits_a_signed_64_bit_integer():
    assert all(0 <= item_seed(0, "bird", index) < 2**63 for index in range(100))
