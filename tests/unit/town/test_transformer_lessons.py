"""What Town's transformer learns from: scenes, captions, noise levels, and where its attention is to be."""

import dataclasses

import numpy as np
import pytest
import torch
from town_training import batches, captions, data, transformer

from csg.town.canvas import THING_ID
from csg.town.regions import LOCAL
from csg.town.world import CAPTION_ORDER, NAMES, factual

SETTINGS = transformer.Settings()
SCENES = range(1_400_000, 1_401_000)


def tokenise(text):
    return [100 + sum(map(ord, word)) for word in text.replace(",", " ,").split()]


def test_small_things_are_drawn_more_often_and_the_other_training_set_stays_as_it_was():
    seldom = [data.training_do(np.random.default_rng((seed, 1))) for seed in SCENES]
    often = [data.training_do(np.random.default_rng((seed, 1)), transformer.RARE) for seed in SCENES]
    small = [[do.get("person", "none") != "none" or do.get("snowman") == "built" for do in drawn] for drawn in (seldom, often)]
    assert np.mean(small[1]) > np.mean(small[0]) + 0.1
    changed = [after for do, after in zip(seldom, often, strict=True) if do != after]
    assert 0.28 < len(changed) / len(often) < 0.4
    assert all(any(rare.items() <= after.items() for rare in data.RARE) for after in changed)


def test_a_batch_marks_the_words_and_the_place_of_every_local_concept_on_the_transformers_own_grid():
    picked = [data.sample(seed, transformer.GRID) for seed in SCENES[:4]]
    values = np.stack([data.encode(one) for _, one, _ in picked])
    covers = np.stack([np.round(cover * 255) for *_, cover in picked]).astype(np.uint8)
    captioner = captions.Captioner(tokenise, captions.Mix(nothing=0, one=0, half=0, shuffled=0, article=0))
    batch = batches.Dataset(torch.zeros(4, 4, 32, 32), values, covers, captioner).batch(8, np.random.default_rng(1))
    assert batch.regions.shape == (8, len(LOCAL), transformer.GRID**2) and batch.cover.shape[-1] == transformer.GRID
    house, lit = LOCAL.index("house"), batch.tokens.bool()
    told = [tuple(ids[row].tolist()) for ids, row in zip(batch.ids_l, lit[:, house], strict=True)]
    assert set(told) <= {tuple(captioner.phrases["house", colour]) for colour in ("red", "blue", "yellow")}
    shown = batch.cover[:, THING_ID["house"]] + batch.cover[:, THING_ID["window"]]
    assert torch.allclose(batch.regions[:, house], shown.flatten(1)) and (batch.regions[:, house].amax(1) == 1).all()


def test_a_person_counts_more_than_the_sky():
    cover = torch.zeros(1, len(THING_ID), 16, 16)
    cover[:, THING_ID["sky"]] = 1
    cover[:, :, 3, 3], cover[:, THING_ID["person"], 3, 3] = 0, 1
    weights = batches.loss_weights(cover, 32, SETTINGS.weights)[0, 0]
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[6:8, 6:8] / weights[0, 0]).flatten().tolist() == pytest.approx([5.0] * 4)


def test_most_captions_are_whole_and_some_say_nothing():
    captioner, rng = captions.Captioner(tokenise, SETTINGS.captions), np.random.default_rng(0)
    counts = [len(captioner.names(rng)) for _ in range(1000)]
    whole, nothing = (np.mean([n == k for n in counts]) for k in (len(CAPTION_ORDER), 0))
    assert 0.55 < whole < 0.7 and 0.09 < nothing < 0.15
    assert not captioner.draw(factual(3), np.random.default_rng(4)).spans.keys() - set(NAMES)


def test_levels_cover_the_path_and_are_drawn_mostly_where_layout_is_decided():
    drawn = torch.cat([transformer.draw_levels(SETTINGS, torch.Generator().manual_seed(i)) for i in range(400)])
    assert drawn.min() >= 1e-3 and drawn.max() <= 1 and drawn.median() > 0.55
    assert (drawn < 0.1).float().mean() > 0.01
    flat = dataclasses.replace(SETTINGS, level_uniform=1.0)
    even = torch.cat([transformer.draw_levels(flat, torch.Generator().manual_seed(i)) for i in range(400)])
    assert even.mean().item() == pytest.approx(0.5, abs=0.01)


def astray(inside, outside=0.0, spread=1.0, settings=SETTINGS):
    """The attention loss of one concept of one word, whose tokens in its place give it the share `inside`."""
    regions = torch.zeros(1, 1, 256)
    regions[..., :32] = 1
    maps = torch.zeros(1, 256, 77)
    maps[:, :32, 5] = inside
    maps[:, : int(32 * (1 - spread)), 5] = 0
    maps[:, 32:, 5] = outside
    tokens = torch.zeros(1, 1, 77)
    tokens[..., 5] = 1
    return float(transformer.attention_loss([maps, maps], tokens, regions, torch.ones(1, 1), settings))


def test_attention_is_wanted_in_its_place_up_to_a_share():
    enough, most = SETTINGS.attention_enough, SETTINGS.attention_most
    assert astray(enough, outside=enough) > astray(enough) + 0.5, "attention elsewhere costs"
    assert astray(enough / 4) > astray(enough) + 0.2, "too little costs"
    assert astray(most) == pytest.approx(astray(enough), abs=0.02), "more than enough earns nothing"
    assert astray(2 * most) > astray(most) + 0.5, "too much costs"
    assert astray(enough, spread=0.5) > astray(enough) + 0.2, "half of the place is not the place"


def test_concepts_that_do_not_count_do_not():
    regions, tokens = torch.rand(2, 3, 256), torch.zeros(2, 3, 77)
    tokens[..., 4:6] = 1
    maps = [torch.rand(2, 256, 77).softmax(-1)]
    assert float(transformer.attention_loss(maps, tokens, regions, torch.zeros(2, 3), SETTINGS)) == 0
