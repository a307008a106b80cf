import numpy as np
import pytest

from diffumask.errors import InputError
from diffumask.masks.refine import refine
from diffumask.masks.thresholds import Adaptive, Calibrated, Evidence, Fixed, Otsu, ious
from diffumask.masks.unary import label_probabilities
from diffumask.metrics import iou

pytestmark = pytest.mark.numeric

HEAT = np.array([[0.1, 0.12, 0.15, 0.8], [0.1, 0.11, 0.9, 1.0]], dtype=np.float32)
SIZE_HW = (12, 20)


def evidence(heat, affinity=None, class_name="bird"):
    image = np.full((*heat.shape, 3), 100, np.uint8)
    return Evidence(image, heat.astype(np.float32), affinity, class_name)


def ramp():
    """Heat that falls from the left to the right, on a picture of one colour."""
    return np.tile(np.linspace(1, 0, SIZE_HW[1], dtype=np.float32), (SIZE_HW[0], 1))


def object_up_to(column):
    affinity = np.zeros(SIZE_HW, np.float32)
    affinity[:, :column] = 1
    return affinity


def test_a_fixed_threshold_is_that_number():
    assert Fixed(0.45)(evidence(HEAT)) == 0.45


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_that_leaves_nothing_or_is_no_heat_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold in"):
        Fixed(threshold)


def test_otsu_parts_two_groups():
    assert 0.15 <= Otsu()(evidence(HEAT)) < 0.8


def test_otsu_may_be_lowered_but_not_below_nothing():
    seen = evidence(HEAT)
    assert Otsu(less=0.05)(seen) == pytest.approx(Otsu()(seen) - 0.05)
    assert Otsu(less=0.9)(seen) == 0


def test_otsu_is_the_best_of_all_thresholds():
    heat = np.random.default_rng(0).beta(0.5, 0.8, (9, 13)).astype(np.float32)

    def variance_between(threshold):
        above = heat > threshold
        if above.all() or not above.any():
            return 0.0
        share = above.mean()
        return float(share * (1 - share) * (heat[above].mean() - heat[~above].mean()) ** 2)

    best = max(variance_between(float(t)) for t in heat.ravel())
    assert variance_between(Otsu()(evidence(heat))) >= 0.99 * best


def test_a_calibrated_threshold_is_that_of_the_class():
    method = Calibrated({"bird": 0.39, "bottle": 0.48}.__getitem__, "table")
    assert method(evidence(HEAT, class_name="bottle")) == 0.48


@pytest.mark.parametrize("column", [9, 10, 11])
def test_adaptive_takes_the_candidate_that_agrees_best_with_the_affinity_mask(column):
    affinity = object_up_to(column)
    chosen = Adaptive("none")(evidence(ramp(), affinity))
    by_hand = {g: iou(ramp() > np.float32(g), affinity > 0.5) for g in Adaptive().gammas}
    assert by_hand[chosen] == max(by_hand.values())


def test_all_candidates_at_once_are_those_one_by_one():
    method, seen = Adaptive("crf"), evidence(ramp(), object_up_to(9))
    together = method.candidates(seen)
    for gamma, candidate in zip(method.gammas, together, strict=True):
        alone = refine("crf", seen.image, label_probabilities(seen.heat[None], [[gamma]]))[0, 1]
        decided = np.abs(alone - 0.5) > 1e-4  # elsewhere rounding may tip the balance
        assert decided.mean() > 0.9
        assert np.array_equal(alone[decided] > 0.5, candidate[decided])


def test_without_overlap_adaptive_is_otsu():
    affinity = np.zeros(SIZE_HW, np.float32)
    affinity[:, -1] = 1  # where no candidate lies
    seen = evidence(ramp(), affinity)
    assert Adaptive("none")(seen) == Otsu()(seen)


def test_adaptive_needs_an_affinity():
    with pytest.raises(InputError, match="affinity for the threshold 'adaptive', got none"):
        Adaptive()(evidence(HEAT))


def test_ious_are_the_iou_of_each():
    rng = np.random.default_rng(0)
    masks, reference = rng.random((5, 3, 7)) > 0.4, rng.random((3, 7)) > 0.5
    np.testing.assert_allclose(ious(masks, reference), [iou(mask, reference) for mask in masks])
    assert ious(np.zeros((1, 3, 7), bool), np.zeros((3, 7), bool)).tolist() == [0.0]


def test_every_method_tells_itself_apart():
    methods = [Fixed(0.4), Fixed(0.5), Otsu(), Otsu(0.05), Adaptive("crf"), Adaptive("none")]
    assert len({method.describe() for method in methods}) == len(methods)
