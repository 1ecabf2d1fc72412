"""Masks and the guidance sum, each against numbers worked out by hand or another formula."""

import math

import pytest
import torch

from csg.diffusion import guidance as csg
from csg.diffusion.guidance import ConceptTerm, GuidanceSettings, Predictions


def term(**options):
    return ConceptTerm("ground", "wet ground", **options)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_quantile_lies_between_two_values():
    values = torch.arange(16.0).view(1, 4, 4)
    assert csg.quantile_mask(values, 0.7).flatten().tolist() == [0] * 11 + [1] * 5
    assert csg.quantile_mask(values, 0.0).all()


def test_a_value_at_the_quantile_belongs_to_the_mask():
    """0.8 of 16 cells falls on the 13th value itself; equal values stand or fall together."""
    values = torch.arange(16.0).view(1, 4, 4)
    assert csg.quantile_mask(values, 0.8).sum() == 4
    tied = torch.tensor([0.0] * 12 + [5.0] * 4).view(1, 4, 4)
    assert csg.quantile_mask(tied, 0.9).sum() == 4
    assert csg.quantile_mask(torch.zeros(1, 4, 4), 0.9).all()


def test_every_picture_of_a_batch_has_its_own_quantile():
    values = torch.stack([torch.arange(16.0), 100 + torch.arange(16.0)]).view(2, 4, 4)
    assert csg.quantile_mask(values, 0.7).sum((1, 2)).tolist() == [5, 5]


def variance_within(values, mask):
    """The summed squared distances of the values from the means of their classes."""
    return sum(((part - part.mean()) ** 2).sum() for part in (values[mask == 1], values[mask == 0]))


def test_otsu_cuts_where_the_two_classes_are_tightest():
    """The largest variance between the classes is the smallest within: compared with every other cut there is."""
    values = torch.stack([random(8, 8, seed=s).exp() for s in range(5)])
    masks = csg.otsu_mask(values)
    for one, mask in zip(values, masks, strict=True):
        others = [variance_within(one, (one >= level).float()) for level in one.flatten().sort().values[1:]]
        assert variance_within(one, mask) <= min(others) + 1e-4
        assert one[mask == 1].min() > one[mask == 0].max()


def test_the_size_of_an_otsu_mask_follows_the_map():
    small, large = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    small[0, 0, :2], large[0, :5] = 5.0, 5.0
    noise = 0.1 * random(1, 8, 8)
    assert [int(csg.otsu_mask(m + noise).sum()) for m in (small, large)] == [2, 40]
    assert csg.otsu_mask(torch.zeros(1, 8, 8)).all()


def test_the_cut_is_the_thresholds_or_otsus_and_a_threshold_of_0_is_everywhere():
    values = random(1, 8, 8).exp()
    assert torch.equal(csg.cut_mask(values, 0.7), csg.quantile_mask(values, 0.7))
    assert torch.equal(csg.cut_mask(values, 0.7, "otsu"), csg.otsu_mask(values))
    assert csg.cut_mask(values, 0.0, "otsu").all()
    given = said(attention={0: values}, concepts={0: random(1, 4, 8, 8, seed=3)})
    by_cut = [csg.guide([term()], [0], given, GuidanceSettings("intersect", cut=cut)).masks[0] for cut in ("quantile", "otsu")]
    assert not torch.equal(*by_cut)


def test_half_precision_is_compared_in_full():
    values = (1 + torch.arange(64.0) / 2048).view(1, 8, 8).half()
    assert csg.quantile_mask(values, 0.75).dtype == torch.float32
    assert torch.equal(csg.quantile_mask(values, 0.75), csg.quantile_mask(values.float(), 0.75))


def test_the_smoothing_kernel_is_the_references():
    side, middle = math.exp(-1) / (1 + 2 * math.exp(-1)), 1 / (1 + 2 * math.exp(-1))
    assert (side, middle) == pytest.approx((0.21194, 0.57612), abs=1e-5)
    expected = [[side * side, side * middle, side * side], [side * middle, middle * middle, side * middle]]
    assert torch.allclose(csg.smoothing()[:2], torch.tensor(expected)) and torch.allclose(csg.smoothing(), csg.smoothing().T)
    assert float(csg.smoothing().sum()) == pytest.approx(1)


def test_m1_is_smoothed_with_reflected_borders_then_cut_then_enlarged():
    attention = torch.zeros(1, 4, 6)
    attention[0, 1, 1] = 1.0
    smooth = torch.zeros(4, 6)
    for y in range(4):
        for x in range(6):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    row, column = y + dy, x + dx
                    row = -row if row < 0 else 6 - row if row > 3 else row
                    column = -column if column < 0 else 10 - column if column > 5 else column
                    smooth[y, x] += csg.smoothing()[dy + 1, dx + 1] * attention[0, row, column]
    cells = (smooth >= torch.quantile(smooth, 0.9)).float()
    mask = csg.attention_mask(attention, 0.9, (16, 24))
    assert mask.shape == (1, 1, 16, 24)
    assert torch.equal(mask[0, 0], cells.repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert 0 < mask.mean() < 1


def test_m2_sums_magnitudes_over_the_channels():
    psi = torch.zeros(1, 4, 2, 2)
    psi[0, :, 0, 0] = torch.tensor([3.0, -3.0, 3.0, -3.0])  # sums to nothing without magnitudes
    psi[0, 0, 1, 1] = 5.0  # the largest single channel
    assert csg.noise_mask(psi, 0.9)[0, 0].tolist() == [[1, 0], [0, 0]]


def said(**options):
    base, zeros = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1)
    return Predictions(base, zeros, **options)


def test_psi_is_measured_from_the_unconditional_signed_and_scaled():
    given = said(concepts={0: random(1, 4, 8, 8, seed=2)})
    expected = 5.0 * (given.concepts[0] - given.unconditional)
    assert torch.allclose(csg.local_psi(term(scale=5.0), 0, given, GuidanceSettings()), expected)
    assert torch.allclose(csg.local_psi(term(scale=5.0, remove=True), 0, given, GuidanceSettings()), -expected)


def test_contrast_with_the_factual_phrase_where_there_is_one():
    given = said(concepts={k: random(1, 4, 8, 8, seed=2 + k) for k in (0, 1)}, factuals={0: random(1, 4, 8, 8, seed=9)})
    settings = GuidanceSettings(contrast="factual")
    assert torch.allclose(csg.local_psi(term(scale=1.0), 0, given, settings), given.concepts[0] - given.factuals[0])
    assert torch.allclose(csg.local_psi(term(scale=1.0), 1, given, settings), given.concepts[1] - given.unconditional)


def test_the_users_mask_comes_before_the_quantile():
    inside = torch.zeros(1, 8, 8)
    inside[:, :2] = 1.0
    given = said(concepts={0: random(1, 4, 8, 8, seed=2)})
    guided = csg.guide([term(mask=inside, threshold=0.8)], [0], given, GuidanceSettings("noise"))
    assert guided.masks[0][0, 0, 2:].sum() == 0 and 0 < guided.masks[0][0, 0, :2].mean() < 1
    assert torch.equal(guided.denoised[:, :, 2:], given.base[:, :, 2:])


@pytest.mark.parametrize("kind", csg.MASKS)
@pytest.mark.parametrize("scope", ["local", "global"])
def test_no_mask_of_a_concept_reaches_outside_the_users(kind, scope):
    inside = torch.zeros(1, 8, 8)
    inside[:, :4] = 0.5
    given = said(concepts={0: random(1, 4, 8, 8, seed=2)}, attention={0: torch.tensor([[[0.1, 0.2], [0.3, 0.9]]])},
                 caption_difference=random(1, 4, 8, 8, seed=5))  # fmt: skip
    free, bound = (csg.guide([term(mask=mask, threshold=0.2, scope=scope)], [0], given, GuidanceSettings(kind)) for mask in (None, inside))
    assert free.masks[0][:, :, 4:].any() and bound.masks[0][:, :, :4].any()
    assert not bound.masks[0][:, :, 4:].any()
    assert torch.equal(bound.denoised[:, :, 4:], given.base[:, :, 4:])
    assert not torch.equal(bound.denoised[:, :, :4], given.base[:, :, :4])


def test_a_users_mask_of_pixels_is_averaged_to_the_latent():
    mask = torch.zeros(64, 64)
    mask[:, :36] = 1.0
    out = csg.user_mask(mask, torch.zeros(1, 4, 8, 8))
    assert out.shape == (1, 1, 8, 8)
    assert out[0, 0, 0].tolist() == [1, 1, 1, 1, 0.5, 0, 0, 0]
    assert torch.equal(csg.user_mask(torch.full((2, 1, 8, 8), 0.3), torch.zeros(2, 4, 8, 8)), torch.full((2, 1, 8, 8), 0.3))


def test_each_kind_of_mask_is_what_it_says():
    given = said(concepts={0: random(1, 4, 8, 8, seed=2)}, attention={0: random(1, 2, 2, seed=3).abs()})
    one = term(threshold=0.6)
    psi = csg.local_psi(one, 0, given, GuidanceSettings())
    m1, m2 = csg.attention_mask(given.attention[0], 0.6, (8, 8)), csg.noise_mask(psi, 0.6)
    masks = {kind: csg.concept_mask(one, 0, psi, given, GuidanceSettings(kind)) for kind in csg.MASKS}
    assert torch.equal(masks["attention"], m1) and torch.equal(masks["noise"], m2)
    assert torch.equal(masks["intersect"], m1 * m2) and masks["none"].all()
    assert len({float(m.mean()) for m in masks.values()}) == 4


def test_attention_of_edit_and_factual_phrase_and_both():
    new, old = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    new[0, 0, 0], old[0, 3, 3] = 1.0, 1.0
    given = said(attention={0: new}, factual_attention={0: old})
    masks = {source: csg.first_mask(term(threshold=0.9), 0, given, GuidanceSettings(mask_source=source), (8, 8))
             for source in ("edit", "factual", "both")}  # fmt: skip
    assert masks["edit"][0, 0, 0, 0] == 1 and masks["edit"][0, 0, 7, 7] == 0
    assert masks["factual"][0, 0, 0, 0] == 0 and masks["factual"][0, 0, 7, 7] == 1
    assert torch.equal(masks["both"], torch.maximum(masks["edit"], masks["factual"]))
    given.factual_attention = {}
    assert torch.equal(csg.first_mask(term(threshold=0.9), 0, given, GuidanceSettings(mask_source="factual"), (8, 8)), masks["edit"])


def test_concepts_add_up_where_they_overlap():
    given = said(concepts={k: random(1, 4, 8, 8, seed=2 + k) for k in (0, 1)})
    terms, settings = [term(threshold=0.5), term(threshold=0.3, scale=3.0, remove=True)], GuidanceSettings("noise")
    guided = csg.guide(terms, [0, 1], given, settings)
    expected = given.base.clone()
    for k, one in enumerate(terms):
        psi = csg.local_psi(one, k, given, settings)
        expected += psi * csg.noise_mask(psi, one.threshold)
    assert torch.allclose(guided.denoised, expected, atol=1e-5)
    assert (guided.masks[0] * guided.masks[1]).any()
    assert torch.equal(guided.union(), torch.maximum(guided.masks[0], guided.masks[1]))


def test_without_active_terms_the_base_stays_as_it_is():
    given = said()
    guided = csg.guide([term()], [], given, GuidanceSettings())
    assert torch.equal(guided.denoised, given.base) and guided.union() is None


def test_global_terms_share_one_difference_of_captions():
    difference = random(1, 4, 8, 8, seed=5)
    given = said(caption_difference=difference, concepts={2: random(1, 4, 8, 8, seed=2)})
    terms = [term(scope="global", scale=2.0), term(scope="global", scale=3.0), term(scale=1.0)]
    guided = csg.guide(terms, [0, 1, 2], given, GuidanceSettings("none"))
    expected = given.base + 3.0 * difference + (given.concepts[2] - given.unconditional)
    assert torch.allclose(guided.denoised, expected, atol=1e-5)
    assert guided.masks[0].all() and guided.masks[1].all()


def test_captioned_terms_share_the_captions_difference_inside_their_masks():
    """The strongest of overlapping concepts counts; a term that the captions do not tell of keeps its own guidance."""
    difference = random(1, 4, 8, 8, seed=5)
    given = said(caption_difference=difference, concepts={2: random(1, 4, 8, 8, seed=2)},
                 attention={0: random(1, 2, 2, seed=6).exp(), 1: random(1, 2, 2, seed=7).exp()})  # fmt: skip
    left = torch.zeros(1, 8, 8)
    left[..., :6] = 1
    terms = [term(scale=2.0, captioned=True, mask=left), term(scale=3.0, captioned=True, mask=left.flip(-1)), term(scale=1.0)]
    guided = csg.guide(terms, [0, 1, 2], given, GuidanceSettings("none", contrast="captions"))
    strength = torch.full((8, 8), 3.0)
    strength[:, :2] = 2.0
    expected = given.base + strength * difference + (given.concepts[2] - given.unconditional)
    assert torch.allclose(guided.denoised, expected, atol=1e-5)
    masked = csg.guide(terms[:1], [0], given, GuidanceSettings("intersect", contrast="captions"))
    m1, m2 = csg.attention_mask(given.attention[0], 0.7, (8, 8)), csg.noise_mask(difference, 0.7)
    assert torch.equal(masked.masks[0], m1 * m2 * left)


def test_when_terms_act():
    terms = [term(warmup=3, cooldown=6), term(warmup=5), term(warmup=0, scale=0.0)]
    assert [csg.active_terms(terms, i) for i in (2, 3, 5, 6)] == [[], [0], [0, 1], [1]]
    assert [csg.active_terms(terms, i, joint=True) for i in (4, 5)] == [[], [0, 1]]
    assert csg.first_guided_step(terms, 20) == 3 and csg.first_guided_step(terms, 20, joint=True) == 5
    off = [*terms, term(scale=0.0, warmup=30)]
    assert csg.active_terms(off, 5, joint=True) == [0, 1] and csg.first_guided_step(off, 20, joint=True) == 5
    never = [*terms, term(warmup=30)]
    assert csg.active_terms(never, 19, joint=True) == [] and csg.first_guided_step(never, 20, joint=True) == 20
    assert csg.first_guided_step(terms, 3) == 3 and csg.first_guided_step([], 20) == 20


@pytest.mark.parametrize("name", ["mask", "mask_source", "contrast", "cut"])
def test_unknown_settings_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"{name} is 'magic'; it is one of"):
        GuidanceSettings(**{name: "magic"})


def test_a_soft_edge_keeps_the_mask_and_fades_within_reach():
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 5:7, 5:7] = 1
    for radius in (1, 2):
        soft = csg.soft_edge(mask, radius)
        assert (soft[mask == 1] == 1).all() and soft.max() == 1
        reach = torch.nn.functional.max_pool2d(mask, 2 * radius + 1, 1, radius)
        assert (soft[reach == 0] == 0).all()
        rim = soft[(reach == 1) & (mask == 0)]
        assert ((rim > 0) & (rim < 1)).all()
    assert torch.equal(csg.soft_edge(mask, 0), mask)


def test_the_mean_of_masks_counts_only_steps_in_which_a_concept_acted():
    mean, on = csg.MaskMean(3), torch.ones(2, 1, 4, 4)
    mean.add({0: on, 1: on})
    mean.add({0: 0 * on})
    result = mean.result((2, 4, 4, 4))
    assert result.shape == (3, 2, 4, 4)
    assert [float(m.mean()) for m in result] == [0.5, 1.0, 0.0]
    assert csg.MaskMean(0).result((2, 4, 4, 4)).shape == (0, 2, 4, 4)
