"""Release inside ComfyUI: what is taken out of the start, when it is, and that nothing of it stays behind."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.tiny_lab import STEPS, gap

WARMUP = 2


@pytest.fixture(scope="module")
def plain(lab):
    """The picture inverted without a prompt, on the reference's schedule."""
    return lab.invert(schedule="diffusers")[0]


@pytest.fixture
def day_to_night(lab):
    """A global concept and a masked one, both told by the captions or not, as their settings have it."""
    local = lab.edits(count=1, scale=3.0, warmup=WARMUP)
    night = lab.guidance.ConceptTerm("night", "night", 2.0, 0.7, WARMUP, scope="global")
    return replace(local, terms=(*local.terms, night), target=tiny_models.conditioning(6), source=tiny_models.conditioning(7))


class Run:
    """An edit and what was seen of it: where it started, what acted when, what the captions were measured on."""

    def __init__(self, lab, inversion, edits, share, below):
        self.guider, self.measured = lab.guider(inversion, edits, mask="none"), []
        difference = lab.step.GuidedModel.caption_difference

        def watched_difference(guided, x, sigma, options, plan):
            self.measured.append((x, sigma, difference(guided, x, sigma, options, plan)))
            return self.measured[-1][2]

        with pytest.MonkeyPatch.context() as patch, lab.watching() as watch:
            patch.setattr(lab.step.GuidedModel, "caption_difference", watched_difference)
            self.samples = lab.replay(self.guider, inversion, release=lab.replaying.Release(share, below))
        self.steps = [(step, x, acting) for step, x, _, acting in watch.predicted]

    @property
    def left(self):
        """How much of the change the picture let through."""
        seen, free = (difference.float().mean((2, 3)).norm() for *_, difference in self.measured)
        return float(seen / free)


def test_without_a_condition_low_frequencies_leave_the_start_of_any_edit(lab, plain):
    run = Run(lab, plain, lab.edits(count=1), 0.5, 0.0)
    step, x, acting = run.steps[0]
    low = lab.comfy.module("csg.diffusion.release").low_frequencies(plain.latent)
    assert step == 0 and gap(plain.path[0] - x, 0.5 * low) < 1e-5 and low.abs().max() > 0.1
    assert not acting and not run.measured


def test_it_is_measured_at_the_noisiest_level_with_the_picture_and_without(lab, plain, day_to_night):
    run = Run(lab, plain, day_to_night, 1.0, 1.0)
    (pictured, sigma, _), (free, same, _) = run.measured
    assert torch.equal(pictured, plain.path[0]) and gap(pictured - free, plain.latent) < 1e-5
    assert torch.equal(sigma, same) and float(sigma) == pytest.approx(float(plain.sigmas[0]))


def test_a_picture_that_resists_is_released_and_the_captions_act_at_once(lab, plain, day_to_night):
    left = Run(lab, plain, day_to_night, 1.0, 1e-6).left
    assert left > 0
    run = Run(lab, plain, day_to_night, 1.0, left * 1.01)
    low = lab.comfy.module("csg.diffusion.release").low_frequencies(plain.latent)
    step, x, acting = run.steps[0]
    assert step == 0 and gap(plain.path[0] - x, low) < 1e-5
    assert acting == {1}, "the global concept, not the one that the captions do not tell"
    assert [acts for *_, acts in run.steps[WARMUP:]] == [{0, 1}] * (STEPS - WARMUP)


def test_a_picture_that_gives_way_is_edited_as_without(lab, plain, day_to_night):
    left = Run(lab, plain, day_to_night, 1.0, 1e-6).left
    run, without = (Run(lab, plain, day_to_night, share, left * 0.99) for share in (1.0, 0.0))
    assert run.measured and not without.measured
    assert run.steps[0][0] == WARMUP and torch.equal(run.samples, without.samples)


def test_without_a_global_concept_nothing_is_measured_or_released(lab, plain):
    run, without = (Run(lab, plain, lab.edits(), share, 0.9) for share in (1.0, 0.0))
    assert not run.measured and torch.equal(run.samples, without.samples)


def test_each_picture_of_a_batch_is_judged_by_itself(lab, day_to_night):
    loud_and_faint = tiny_models.latent(batch=2)["samples"] * torch.tensor([3.0, 0.01])[:, None, None, None]
    two, _ = lab.invert({"samples": loud_and_faint}, schedule="diffusers")
    first = Run(lab, two, day_to_night, 1.0, 1e-6)
    seen, free = (difference.float().mean((2, 3)).norm(dim=1) for *_, difference in first.measured)
    shares = (seen / free).tolist()
    assert abs(shares[0] - shares[1]) > 0.01
    run = Run(lab, two, day_to_night, 1.0, sum(shares) / 2)
    moved = (two.path[0] - run.steps[0][1]).abs().amax((1, 2, 3)) > 1e-6
    assert moved.tolist() == [share < sum(shares) / 2 for share in shares]


def test_the_next_run_of_a_guider_has_its_warm_up_again(lab, plain, day_to_night):
    left = Run(lab, plain, day_to_night, 1.0, 1e-6).left
    run = Run(lab, plain, day_to_night, 1.0, left * 1.01)
    assert run.steps[0][2] == {1} and run.guider.plan.terms == day_to_night.terms


def test_a_guider_without_captions_cannot_measure(lab, plain):
    from comfy_extras.nodes_custom_sampler import CFGGuider, SamplerCustomAdvanced

    sampler, sigmas, noise, latent = lab.compose.ReplaySampler.execute(plain, "off", 1.0, 0.75).result
    stock = CFGGuider.execute(lab.model, lab.source, tiny_models.conditioning(1), 4.0).result[0]
    with pytest.raises(ValueError, match="release_below = 0.75 .* set release_below to 0"):
        SamplerCustomAdvanced.execute(noise, stock, sampler, sigmas, latent)
