"""What must hold without the reference."""

from types import SimpleNamespace

import pytest
import torch
from parity_texts import CONCEPTS, SOURCE, SQUARE, WIDE, latent

STEPS = 20


def largest(a, b):
    return float((a - b).abs().max())


@pytest.fixture(scope="module")
def inversion(engine):
    return engine.invert(latent(SQUARE), STEPS, 0.15, 3)[0]


@pytest.mark.parametrize("source", [None, SOURCE], ids=["unconditional", "source"])
@pytest.mark.parametrize("scale", [None, 0.0], ids=["no concepts", "scale 0"])
def test_without_guidance_on_the_inversions_base_every_latent_is_the_recorded_one(engine, monkeypatch, source, scale):
    engine.from_the_first_step(monkeypatch)
    inversion, _ = engine.invert(latent(SQUARE), STEPS, 0.15, 0, source)
    terms = [] if scale is None else [engine.term(CONCEPTS[0], scale=scale)]
    edited = engine.edit(inversion, terms, base="source" if source else "unconditional")
    assert sorted(edited.trajectory) == list(range(STEPS))
    for i, x in edited.trajectory.items():
        assert largest(x, inversion.path[i]) < 2e-4, f"step {i}"


def test_skipping_the_steps_that_only_follow_the_path_changes_nothing(engine, inversion, monkeypatch):
    terms = [engine.term(text, warmup=warmup) for text, warmup in zip(CONCEPTS, (6, 4, 9))]
    short = engine.edit(inversion, terms)
    engine.from_the_first_step(monkeypatch)
    whole = engine.edit(inversion, terms)
    assert min(short.trajectory) == 4 and min(whole.trajectory) == 0
    assert torch.equal(short.masks, whole.masks)
    assert largest(short.latent, whole.latent) < 1e-3


@pytest.mark.parametrize("mask", ["intersect", "attention", "noise"])
def test_threshold_0_leaves_no_place_out(engine, inversion, mask):
    edited = engine.edit(inversion, [engine.term(CONCEPTS[0], threshold=0.0, warmup=15)], mask)
    assert (edited.masks[15:] == 1).all() and (edited.masks[:15] == 0).all()


def test_the_order_of_concepts_does_not_matter(engine, inversion):
    terms = [engine.term(text, warmup=8, scale=4.0) for text in CONCEPTS]
    one, other = engine.edit(inversion, terms), engine.edit(inversion, terms[::-1])
    assert torch.equal(one.masks, other.masks.flip(1))
    assert largest(one.latent, other.latent) < 1e-3


@pytest.fixture
def sizes(engine, monkeypatch):
    """Rows of every call of the network, as they come."""
    seen, network = [], engine.patcher.model.diffusion_model
    forward = network.forward

    def counting(x, *arguments, **options):
        seen.append(len(x))
        return forward(x, *arguments, **options)

    monkeypatch.setattr(network, "forward", counting)
    return seen


def test_rows_one_by_one_give_what_one_batch_gives(engine, inversion, sizes, monkeypatch):
    """With no memory free ComfyUI evaluates the conditionings of a step one after the other."""
    terms = [engine.term(text, warmup=10) for text in CONCEPTS]
    batched = engine.edit(inversion, terms)
    assert set(sizes) == {4}
    sizes.clear()
    monkeypatch.setattr(type(engine.patcher), "get_free_memory", lambda *_: 0)
    serial = engine.edit(inversion, terms)
    assert set(sizes) == {1}
    assert torch.equal(batched.masks, serial.masks) and batched.masks.any()
    assert largest(batched.latent, serial.latent) < 1e-3


def test_levels_of_an_inversion_may_be_evaluated_together(engine, inversion, sizes, monkeypatch):
    monkeypatch.setattr(engine.host, "CPU_ROWS_AT_ONCE", 1)
    alone, _ = engine.invert(latent(SQUARE), STEPS, 0.15, 3)
    assert set(sizes) == {1}
    assert largest(alone.noises, inversion.noises) < 1e-4
    assert torch.equal(alone.path[0], inversion.path[0])


def test_blend_ends_in_the_original_wherever_no_concept_acted(engine):
    exact, _ = engine.invert(latent(SQUARE), STEPS, 0.15, 0, schedule="authors")
    terms = [engine.term(CONCEPTS[0], warmup=5, cooldown=6, threshold=0.7)]
    edited = engine.edit(exact, terms, preserve="blend")
    near = torch.nn.functional.max_pool2d(edited.masks[:, 0].amax(0)[None, None], 5, 1, 2)[0, 0] > 0
    difference = (edited.latent - latent(SQUARE)).abs().amax(1)[0]
    assert 0 < near.float().mean() < 1
    assert difference[~near].max() < 1e-5 and difference[near].max() > 0.1


class Toy:
    """A denoiser as ComfyUI's samplers want it, without a network."""

    def __init__(self, patcher):
        self.inner_model = SimpleNamespace(model_patcher=patcher)

    def __call__(self, x, sigma, *_, **__):
        return torch.tanh(1.5 * x.roll(1, -1)) / (1 + sigma.view(-1, 1, 1, 1))


def test_a_replay_is_comfyuis_own_solver_with_the_recorded_noises(engine):
    from comfy.k_diffusion.sampling import sample_dpmpp_2m_sde

    toy, sigmas = Toy(engine.patcher), engine.schedule.ledits_levels(engine.table, STEPS, 0.15, "diffusers")
    inversion = engine.inversion.invert_sde(toy, latent(SQUARE), sigmas, seed=7, zero_noise_steps=3)
    recorded = iter(inversion.noises)
    expected = sample_dpmpp_2m_sde(toy, inversion.path[0], sigmas, disable=True, noise_sampler=lambda *_: next(recorded))
    *_, last = engine.inversion.replay(toy, inversion)
    assert largest(last.x, expected) < 1e-4 and expected.abs().max() > 0.5


@pytest.mark.parametrize("size", [SQUARE, WIDE], ids=str)
def test_capture_leaves_the_forward_bit_identical_and_no_hook_behind(engine, size):
    unet, text = engine.patcher.model.diffusion_model, CONCEPTS[1]
    call = {"x": latent(size), "timesteps": torch.tensor([321.0]), "context": text.context, "y": torch.ones(1, 32 + 6 * 256)}
    words = {"all": engine.attention.Words(tuple(range(77)), 77), "some": engine.attention.Words((1, 2, 3), 77)}
    capture = engine.attention.AttentionCapture(engine.attention.cells_of(*size), words)
    with torch.inference_mode():
        plain = unet(**call)
        for key in words:
            with capture.hooked([unet]), capture.rows([key]):
                assert torch.equal(unet(**call), plain)
        after = unet(**call)
    hooks = [m for m in unet.modules() if m._forward_hooks]
    assert torch.equal(after, plain) and not hooks
    maps = capture.maps()
    assert maps["all"].shape == (1, size[0] // 4, size[1] // 4)
    assert torch.allclose(maps["all"], torch.ones_like(maps["all"]), atol=1e-5)
    assert ((maps["some"] > 0) & (maps["some"] < 1)).all()
