"""Bootstrap intervals: right on average, honest about dependent values."""

import math

import numpy as np
import pytest

from csg.evaluation.runner.statistics import Interval, bootstrap, cohens_kappa, paired_difference


def test_the_interval_is_that_of_the_normal_theory_for_many_values():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = bootstrap(values.tolist())
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.25 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.25 * error)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        found = bootstrap(rng.normal(size=60).tolist(), draws=400)
        held += found.low <= 0 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_copies_of_a_value_in_one_group_add_no_certainty():
    rng = np.random.default_rng(2)
    scenes = rng.normal(size=50)
    copied = np.repeat(scenes, 10).tolist()
    groups = np.repeat(np.arange(50), 10).tolist()
    honest, naive, single = bootstrap(copied, groups), bootstrap(copied), bootstrap(scenes.tolist())
    assert honest.high - honest.low == pytest.approx(single.high - single.low, rel=0.15)
    assert naive.high - naive.low < 0.5 * (honest.high - honest.low)


def test_groups_of_unequal_size_keep_the_plain_mean():
    assert bootstrap([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]).mean == pytest.approx(2.0)


def test_gaps_are_left_out_and_an_empty_column_is_a_dash():
    found = bootstrap([1.0, None, math.nan, 3.0])
    assert (found.mean, found.count) == (2.0, 2)
    empty = bootstrap([None, math.nan])
    assert empty.count == 0 and empty.text() == "-"


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).normal(size=30).tolist()
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=1)


def test_text_has_the_digits_asked_for():
    assert Interval(0.934, 0.91, 0.957, 4).text(2) == "0.93 [0.91, 0.96]"
    assert Interval(-0.001, -0.004, 0.1, 4).text(2) == "0.00 [0.00, 0.10]"


def test_a_paired_difference_is_surer_than_two_means():
    rng = np.random.default_rng(4)
    scene = rng.normal(0, 10, 80)
    first, second = scene + 1 + rng.normal(0, 0.1, 80), scene
    found = paired_difference(first.tolist(), second.tolist())
    assert found.low > 0.9 and found.high < 1.1
    assert bootstrap(first.tolist()).low < bootstrap(second.tolist()).high


def test_a_pair_with_a_gap_is_left_out():
    assert paired_difference([1.0, None, 3.0], [0.0, 1.0, None]).count == 1


@pytest.mark.parametrize("call", [lambda: bootstrap([1.0], ["a", "b"]), lambda: paired_difference([1.0], [])])
def test_columns_of_different_length_are_refused(call):
    with pytest.raises(ValueError, match="values"):
        call()


def test_kappa_of_the_textbook():
    """20 of 50 yes from both, 15 no from both: agreement .7, by chance .5, kappa .4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)


def test_kappa_knows_no_better_than_chance_and_its_own_limits():
    assert cohens_kappa([(True, True), (False, False)]) == 1.0
    assert cohens_kappa([(True, True), (True, False), (False, True), (False, False)]) == 0.0
    assert cohens_kappa([(True, True)] * 5) is None and cohens_kappa([]) is None
