"""What is looked at in the original picture is found once: later edits of it are faster, and the same."""

import gc
from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_compose import counterfactual_edits
from tests.host.tiny_lab import gap

LOOKING = {"base": "source", "mask_source": "both", "preserve": "concepts"}


@pytest.fixture
def made(lab):
    """A function that makes one and the same inversion anew, with nothing seen yet."""
    return lambda: lab.invert(source=lab.source)[0]


@pytest.fixture
def rows(monkeypatch):
    """How many rows every call of the network had."""
    import comfy.model_base

    seen, apply = [], comfy.model_base.BaseModel._apply_model

    def counted(self, x, *arguments, **options):
        seen.append(len(x))
        return apply(self, x, *arguments, **options)

    monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", counted)
    return seen


def edited(lab, inversion, rows, edits=None, **options):
    """The edited samples, the masks, and how many rows that took."""
    rows.clear()
    samples, masks = lab.edit(inversion, edits or counterfactual_edits(lab), **LOOKING | options)
    return samples, masks, sum(rows)


@pytest.mark.parametrize("contrast", ["unconditional", "captions"])
def test_a_second_edit_looks_no_more_and_is_the_same_to_the_bit(lab, made, rows, contrast):
    inversion = made()
    first, its_masks, whole = edited(lab, inversion, rows, contrast=contrast)
    again, same_masks, less = edited(lab, inversion, rows, contrast=contrast)
    assert torch.equal(first, again) and torch.equal(its_masks, same_masks)
    assert less < whole
    other = replace(counterfactual_edits(lab), terms=tuple(replace(t, scale=2.0) for t in counterfactual_edits(lab).terms))
    changed, _, rest = edited(lab, inversion, rows, other, contrast=contrast)
    assert rest == less and torch.equal(changed, edited(lab, made(), rows, other, contrast=contrast)[0])


def test_all_levels_at_once_show_what_each_shows_alone(lab, made, rows, monkeypatch):
    ahead, its_masks, _ = edited(lab, made(), rows)
    monkeypatch.setattr(lab.replaying.PathMemory, "of", lambda *_: None)
    each, masks, _ = edited(lab, made(), rows)
    assert gap(ahead, each) < 2e-3 and (masks == its_masks).float().mean() > 0.99


def test_batches_see_their_own_pictures(lab, rows):
    batch = tiny_models.latent(batch=2)
    singles = [lab.invert({"samples": one[None]}, source=lab.source)[0] for one in batch["samples"]]
    both = lab.invert(batch, source=lab.source)[0]
    both = replace(both, path=torch.cat([s.path for s in singles], 1), noises=torch.cat([s.noises for s in singles], 1),
                   denoised=torch.cat([s.denoised for s in singles], 1))  # fmt: skip
    together = edited(lab, both, rows)[0]
    for k, single in enumerate(singles):
        assert gap(together[k : k + 1], edited(lab, single, rows)[0]) < 2e-3


def test_another_caption_and_another_model_are_looked_at_anew(lab, comfy, made, rows, tmp_path):
    inversion = made()
    edited(lab, inversion, rows)
    told = replace(counterfactual_edits(lab), source=tiny_models.conditioning(8))
    assert torch.equal(edited(lab, inversion, rows, told)[0], edited(lab, made(), rows, told)[0])
    changed = lab.model.clone()
    key = next(k for k in changed.model.state_dict() if k.endswith("input_blocks.7.1.transformer_blocks.0.attn2.to_q.weight"))
    changed.add_patches({key: (torch.ones_like(changed.model.state_dict()[key]) / 8,)})
    with_patch, fresh = edited(lab, inversion, rows, model=changed), edited(lab, made(), rows, model=changed)
    assert torch.equal(with_patch[0], fresh[0]) and with_patch[2] == fresh[2]


def test_where_other_nodes_take_part_every_step_looks_for_itself(lab, made, rows):
    model, inversion = lab.model.clone(), made()
    model.set_model_attn2_patch(lambda q, k, v, extra: (q, k, v))
    edited(lab, inversion, rows, model=model)
    assert not lab.seen_on_the_path(inversion)
    edited(lab, inversion, rows)
    assert lab.seen_on_the_path(inversion)


def test_a_conditioning_that_is_more_than_text_is_not_remembered(lab, rows):
    source = [[lab.source[0][0], lab.source[0][1] | {"strength": 0.5}]]
    inversion = lab.invert(source=source)[0]
    edits = replace(counterfactual_edits(lab), source=source)
    assert edited(lab, inversion, rows, edits)[2] == edited(lab, inversion, rows, edits)[2]


def test_many_concepts_with_phrases_of_their_own_are_remembered_too(lab, made, rows):
    edits, inversion = counterfactual_edits(lab), made()
    terms = [replace(edits.terms[0], concept=f"c{k}", factual_conditioning=tiny_models.conditioning(50 + k)) for k in range(20)]
    many = replace(edits, terms=tuple(terms))
    whole, less = (edited(lab, inversion, rows, many)[2] for _ in range(2))
    assert less == whole - 4 * (20 + 1)  # each phrase and the caption at each of the four guided steps


def test_only_the_latest_captions_are_kept(lab, comfy, made, rows):
    kept, inversion = comfy.module("nodes.host_lookback").CAPTIONS_KEPT, made()
    captions = [replace(counterfactual_edits(lab), source=tiny_models.conditioning(40 + k)) for k in range(kept + 3)]
    whole = edited(lab, inversion, rows, captions[0])[2]
    for told in captions[1:]:
        edited(lab, inversion, rows, told)
        assert len(lab.seen_on_the_path(inversion)) <= kept
    less, anew = (edited(lab, inversion, rows, told)[2] for told in (captions[-1], captions[1]))
    assert less < anew <= whole
    sizes = [one.numel() * 4 for maps in lab.seen_on_the_path(inversion).values() for one in maps.values()]
    assert sum(sizes) < 64 * 1024  # the maps, not the attention


def test_a_copy_of_an_inversion_has_seen_nothing(lab, made, rows):
    inversion = made()
    edited(lab, inversion, rows)
    assert lab.seen_on_the_path(inversion) and not lab.seen_on_the_path(replace(inversion, path=inversion.path + 1))


def test_what_was_seen_goes_with_its_inversion(lab, made, rows):
    inversion, memories = made(), lab.lookback.PathMemory.by_inversion
    edited(lab, inversion, rows)
    before = len(memories)
    del inversion
    gc.collect()
    assert len(memories) == before - 1
