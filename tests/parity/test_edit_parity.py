"""Masks and edited latents against diffusers' LEDITS++, over every setting that both know.

By default every two values of two settings meet in some case; CSG_FULL_PARITY=1 runs the product of all. Both sides get
the same noise levels here, so that only rounding is between them. Where even that decides about a pixel, because its
value lies on the threshold, the two may part: a case is then compared up to that step, and few cases may end so.
"""

import functools
import itertools
import os
import random
from dataclasses import dataclass

import pytest
import torch
from parity_texts import CONCEPTS, SOURCE, SQUARE, WIDE, latent, user_mask

TIE = 1e-4  # of the range of a mask's values
FULL = os.environ.get("CSG_FULL_PARITY") == "1"


@dataclass(frozen=True)
class Case:
    """One edit; the flags switch a setting from one value for all concepts to one for each."""

    mask: str
    lists: bool = False
    remove: bool = False
    user_mask: bool = False
    warmups: bool = False
    cooldowns: bool = False
    concepts: int = 1
    source: bool = False
    wide: bool = False
    zero: int = 3
    skip: float = 0.15
    steps: int = 20

    def __str__(self):
        flags = [n for n in ("lists", "remove", "user_mask", "warmups", "cooldowns", "source", "wide") if getattr(self, n)]
        return "-".join([self.mask, *flags, f"{self.concepts}of3", f"zero{self.zero}", f"{self.steps}", f"{self.skip}"])

    @property
    def size(self):
        return WIDE if self.wide else SQUARE

    @property
    def inversion(self):
        """What an inversion depends on."""
        return self.size, self.steps, self.skip, self.zero, SOURCE if self.source else None

    def settings(self):
        """Per concept: scale, threshold, warm-up, cool-down (0 = never), removal."""
        n = self.concepts
        return {
            "scale": [8.0, 5.0, 3.0][:n] if self.lists else [8.0] * n,
            "threshold": [0.75, 0.7, 0.55][:n] if self.lists else [0.7] * n,
            "warmup": [3, 6, 1][:n] if self.warmups else [0] * n,
            "cooldown": [14, 9, 17][:n] if self.cooldowns else [0] * n,
            "remove": [True, False, True][:n] if self.remove else [False] * n,
        }


VALUES = {
    "mask": ("intersect", "attention", "noise"),
    **dict.fromkeys(("lists", "remove", "user_mask", "warmups", "cooldowns"), (False, True)),
    "concepts": (1, 3),
    "source": (False, True),
    "wide": (False, True),
    "zero": (0, 3),
    "skip": (0.15, 0.2),
    "steps": (20, 50, 100),
}


def _pairs(row):
    return set(itertools.combinations(sorted((name, str(value)) for name, value in row.items()), 2))


def covering():
    """Few cases in which every two values of two settings meet: greedily, the best (and shortest) of many random rows."""
    dice, rows = random.Random(1), []
    left = set().union(*(_pairs({a: x, b: y}) for a, b in itertools.combinations(VALUES, 2)
                         for x, y in itertools.product(VALUES[a], VALUES[b])))  # fmt: skip
    while left:
        drawn = [{name: dice.choice(values) for name, values in VALUES.items()} for _ in range(400)]
        best = max(drawn, key=lambda row: (len(_pairs(row) & left), -row["steps"]))
        left -= _pairs(best)
        rows.append(Case(**best))
    return rows


def product():
    """Every setting by itself, with everything else in all its values."""
    flags = ("lists", "remove", "user_mask", "warmups", "cooldowns")
    names = ("steps", "skip", "wide", "source", "zero", "mask", "concepts")  # cases of one inversion follow each other
    return [Case(**dict(zip(names, values)), **{flag: True})
            for *values, flag in itertools.product(*(VALUES[name] for name in names), flags)]  # fmt: skip


@pytest.fixture(scope="module")
def inverted(reference, engine):
    """Both inversions of a case, made once for all cases that share them."""

    @functools.lru_cache(maxsize=8)
    def both(size, steps, skip, zero, source):
        x = latent(size)
        pipe = reference.invert(x, steps, skip, zero, source, table=engine.table)
        return pipe, engine.invert(x, steps, skip, zero, source)[0]

    return both


@pytest.fixture(scope="module")
def ends():
    """Case -> the step at which it parted from the reference, None if never."""
    return {}


def by_the_reference(reference, pipe, case):
    own = case.settings()
    options = {"user_mask": user_mask(case.size)} if case.user_mask else {}
    if case.cooldowns:
        options["edit_cooldown_steps"] = own["cooldown"]
    return reference.edit(
        pipe, [text.name for text in CONCEPTS[: case.concepts]], case.mask, edit_guidance_scale=own["scale"],
        edit_threshold=own["threshold"], edit_warmup_steps=own["warmup"], reverse_editing_direction=own["remove"],
        **options,
    )  # fmt: skip


def by_the_engine(engine, inversion, case):
    own = case.settings()
    mask = user_mask(case.size)[0] if case.user_mask else None
    each = [{name: values[k] for name, values in own.items()} for k in range(case.concepts)]
    terms = [engine.term(text, mask=mask, **settings) for text, settings in zip(CONCEPTS, each)]
    return engine.edit(inversion, terms, case.mask)


def parting_step(found, expected):
    """The first step at which a mask differs, which must be a tie; None if all are equal."""
    assert len(found.thresholded) == len(expected.thresholded) > 0
    for n, (cut, other) in enumerate(zip(found.thresholded, expected.thresholded)):
        assert cut.mask.shape == other.shape
        if not torch.equal(cut.mask, other):
            assert n > 0 and cut.distance(other) < TIE, f"number {n} of {len(expected.thresholded)}, step {cut.step}"
            return cut.step
    return None


@pytest.mark.parametrize("case", product() if FULL else covering(), ids=str)
def test_masks_and_latents_are_the_references(reference, engine, inverted, ends, case):
    pipe, inversion = inverted(*case.inversion)
    expected, found = by_the_reference(reference, pipe, case), by_the_engine(engine, inversion, case)
    assert expected.masks.any() and not expected.masks.all()
    # The reference reports its masks before the user's is laid over the guidance; outside that neither side guides.
    inside = user_mask(case.size) > 0 if case.user_mask else torch.ones(1)

    ends[case] = parting = parting_step(found, expected)
    assert torch.equal(found.masks[:parting], (expected.masks * inside)[:parting])
    for i, x in found.trajectory.items():
        if parting is None or i <= parting:
            vp = x / (1 + inversion.sigmas[i] ** 2).sqrt()
            assert float((vp - expected.trajectory[i]).abs().max()) < 1e-3, f"before step {i}"
    if parting is None:
        assert float((found.latent - expected.latent).abs().max()) < 1e-3
    assert float((expected.latent - latent(case.size)).abs().max()) > 0.5


def test_few_cases_part_at_a_tie(ends):
    parted = {str(case): step for case, step in ends.items() if step is not None}
    assert len(parted) <= len(ends) // 4, parted


def test_the_cases_cover_every_pair_and_are_few():
    met = set().union(*(_pairs({name: getattr(case, name) for name in VALUES}) for case in covering()))
    wanted = sum(len(VALUES[a]) * len(VALUES[b]) for a, b in itertools.combinations(VALUES, 2))
    assert len(met) == wanted and len(covering()) <= 18 and len(product()) == 1440
