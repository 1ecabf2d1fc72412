"""Masks and edited latents against diffusers' LEDITS++, over every setting that both know.

By default every pair of settings occurs in some case; CSG_FULL_PARITY=1 runs the product of all (hours).
"""

import functools
import itertools
import os
import random
from dataclasses import dataclass

import pytest
import torch
from parity_texts import CONCEPTS, SOURCE, SQUARE, WIDE, latent, user_mask

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
}


def _pairs(row):
    return set(itertools.combinations(sorted((name, str(value)) for name, value in row.items()), 2))


def covering():
    """Few cases in which every two values of two settings meet: greedily, the best of many random rows each time."""
    dice, rows = random.Random(1), []
    left = set().union(*(_pairs({a: x, b: y}) for a, b in itertools.combinations(VALUES, 2)
                         for x, y in itertools.product(VALUES[a], VALUES[b])))  # fmt: skip
    while left:
        drawn = [{name: dice.choice(values) for name, values in VALUES.items()} for _ in range(400)]
        best = max(drawn, key=lambda row: len(_pairs(row) & left))
        left -= _pairs(best)
        rows.append(Case(**best))
    return rows


def product():
    """Every setting by itself, with everything else in all its values."""
    flags = ("lists", "remove", "user_mask", "warmups", "cooldowns")
    others = itertools.product(VALUES["mask"], flags, (1, 3), (False, True), (False, True), (0, 3), (20, 50, 100), (0.15, 0.2))
    return [Case(mask, concepts=n, source=source, wide=wide, zero=zero, steps=steps, skip=skip, **{flag: True})
            for mask, flag, n, source, wide, zero, steps, skip in others]  # fmt: skip


LONG = [Case("intersect", warmups=True, steps=50, skip=0.2), Case("intersect", wide=True, cooldowns=True, steps=100)]


@pytest.fixture(scope="module")
def inverted(reference, engine):
    """Both inversions of a case, made once for all cases that share them."""

    @functools.lru_cache(maxsize=8)
    def both(size, steps, skip, zero, source):
        x = latent(size)
        return reference.invert(x, steps, skip, zero, source), engine.invert(x, steps, skip, zero, source)[0]

    return both


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


@pytest.mark.parametrize("case", product() if FULL else covering() + LONG, ids=str)
def test_masks_and_edited_latent_are_the_references(reference, engine, inverted, case):
    pipe, inversion = inverted(*case.inversion)
    expected, found = by_the_reference(reference, pipe, case), by_the_engine(engine, inversion, case)

    assert expected.masks.any() and not expected.masks.all()
    assert len(found.thresholded) == len(expected.thresholded) > 0
    wrong = [n for n, (a, b) in enumerate(zip(found.thresholded, expected.thresholded)) if not torch.equal(a, b)]
    assert not wrong, f"M1 or M2 differs first at number {wrong[0]} of {len(found.thresholded)}"
    assert torch.equal(found.masks, expected.masks)

    plain = reference.edit(pipe).latent if case in LONG else latent(case.size)
    assert float((expected.latent - plain).abs().max()) > 0.5
    assert float((found.latent - expected.latent).abs().max()) < 1e-3


def test_the_cases_cover_every_pair_and_are_few():
    met = set().union(*(_pairs({name: getattr(case, name) for name in VALUES}) for case in covering()))
    wanted = sum(len(VALUES[a]) * len(VALUES[b]) for a, b in itertools.combinations(VALUES, 2))
    assert len(met) == wanted and len(covering()) <= 14
