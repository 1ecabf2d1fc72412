"""Editing with flow transformers: every family inverts exactly, edits inside its masks, and leaves nothing behind."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_families, tiny_models
from tests.host.test_citizen_model import interrupted, places
from tests.host.tiny_lab import gap, state_of

FAMILIES = tuple(tiny_families.FAMILIES)
STEPS, TOKENS = 6, 9


class FamilyLab:
    """The sampling nodes on a tiny model of one family."""

    def __init__(self, comfy, family):
        names = ("host", "host_replay", "sample", "compose")
        self.host, self.replaying, self.sample, self.compose = (comfy.module(f"nodes.{name}") for name in names)
        self.edit_types, self.guidance = comfy.module("csg.diffusion.edits"), comfy.module("csg.diffusion.guidance")
        self.comfy, self.family, self.model = comfy, family, tiny_families.model(family)
        self.negative, self.source = tiny_families.conditioning(family, 90), tiny_families.conditioning(family, 0)

    def edits(self, count=2, scale=4.0, lengths=(TOKENS, TOKENS), warmup=2, threshold=0.9, **options):
        terms = []
        for k, tokens in zip(range(count), lengths):
            text = tiny_families.conditioning(self.family, 10 + k, tokens)
            terms.append(self.edit_types.ConceptTerm(
                f"c{k}", f"phrase {k}", scale, threshold, warmup, conditioning=text, tokens=tuple(range(1, 3 + k)), **options))  # fmt: skip
        return self.edit_types.Edits(tuple(terms))

    @torch.inference_mode()
    def invert(self, picture=None, model=None, schedule="authors", seed=3, guidance=2.0, source=None, steps=STEPS):
        out = self.sample.Invert.execute(
            model or self.model, picture or tiny_families.latent(self.family), steps, 0.3, guidance, seed, schedule, 0,
            source or self.source, self.negative)  # fmt: skip
        return out.result[0], out.result[1]["samples"]

    @torch.inference_mode()
    def edit(self, inversion, edits=None, model=None, base="source", mask="intersect", **options):
        out = self.sample.Sampler.execute(model or self.model, inversion, self.edits() if edits is None else edits, base, mask, **options)
        return out.result[0]["samples"], out.result[1]

    @torch.inference_mode()
    def in_pieces(self, inversion, edits, preserve="off", mask="intersect", base="source", **options):
        """The same edit through SamplerCustomAdvanced."""
        from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

        guider = self.compose.Guider.execute(
            self.model, edits, base, mask, inversion.source, inversion.negative, inversion.source_guidance, **options).result[0]
        sampler, sigmas, noise, latent = self.compose.ReplaySampler.execute(inversion, preserve).result
        return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


@pytest.fixture(scope="module")
def labs(comfy):
    made = {}

    def lab(family):
        if family not in made:
            made[family] = FamilyLab(comfy, family)
        return made[family]

    return lab


@pytest.fixture(scope="module")
def inversions(labs):
    made = {}

    def inversion(family):
        if family not in made:
            made[family] = labs(family).invert()[0]
        return made[family]

    return inversion


@pytest.mark.parametrize("family", FAMILIES)
def test_the_picture_comes_back(labs, family):
    """Replayed from the first level: nothing is taken from the recorded path."""
    lab = labs(family)
    inversion, rebuilt = lab.invert()
    samples = tiny_families.latent(family)["samples"]
    assert gap(rebuilt, samples) < 1e-4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.replaying, "first_step", lambda *_: 0)
        replayed = lab.edit(inversion, lab.edit_types.Edits())[0]
    assert gap(replayed, samples) < 1e-4 and replayed.shape == samples.shape
    assert inversion.noises.abs().max() > 0.5 and torch.equal(inversion.samples, samples)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_concepts_change_their_own_places_alone(labs, inversions, family):
    lab = labs(family)
    inversion = inversions(family)
    unedited = lab.edit(inversion, lab.edit_types.Edits())[0]
    edited, masks = lab.edit(inversion, preserve="blend")
    factor = lab.model.model.latent_format.spacial_downscale_ratio
    assert masks.shape == (2, *(factor * n for n in unedited.shape[-2:])) and 0 < masks.mean() < 0.9
    change = (edited - unedited).abs().amax(1).reshape(16, 16)
    acted = torch.nn.functional.max_pool2d(masks.amax(0)[None, None], factor)[0, 0] > 0
    reach = torch.nn.functional.max_pool2d(acted.float()[None, None], 5, 1, 2)[0, 0] > 0  # the blend's soft edge
    assert change[acted].max() > 1e-3 and (~reach).any()
    kept = inversion.path[-1] / inversion.space.scale(float(inversion.sigmas[-1]))
    latents = lab.model.model.process_latent_in(edited).reshape(kept.shape)
    assert gap(latents[..., ~reach], kept[..., ~reach]) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_outside_the_blend_the_latent_is_the_paths_own(labs, inversions, family):
    """In the sampler's own space, where nothing was scaled: the difference is exactly none."""
    lab, inversion, finals = labs(family), inversions(family), []
    sampling = lab.replaying.replay

    def watched(denoise, made, **options):
        blends = {}
        blend = options["blend"]

        def noted(i):
            blends[i] = blend(i)
            return blends[i]

        for step in sampling(denoise, made, **options | {"blend": noted}):
            yield step
        finals.append((step.x, blends[made.steps - 1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.replaying, "replay", watched)
        lab.edit(inversion, preserve="blend")
    (final, kept), = finals
    outside = (kept == 0).expand_as(final)
    assert outside.any() and gap(final[outside], inversion.latent[outside]) == 0.0
    assert gap(final[~outside], inversion.latent[~outside]) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_asked_is_nothing_changed(labs, inversions, family):
    lab, inversion = labs(family), inversions(family)
    assert gap(lab.edit(inversion, lab.edits(scale=0.0))[0], tiny_families.latent(family)["samples"]) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pieces_equal_the_sampler(labs, inversions, family):
    lab, inversion = labs(family), inversions(family)
    options = {"preserve": "blend", "mask_source": "both", "contrast": "factual"}
    text = {"factual_phrase": "old", "factual_conditioning": tiny_families.conditioning(family, 20), "factual_tokens": (2, 3)}
    assert torch.equal(lab.in_pieces(inversion, lab.edits(**text), **options), lab.edit(inversion, lab.edits(**text), **options)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_phrases_of_other_lengths(labs, inversions, family):
    """Where the host cannot batch rows of different length it calls again; the edit is the same to rounding."""
    lab, inversion = labs(family), inversions(family)
    edited = lab.edit(inversion, lab.edits(lengths=(TOKENS, 14)))[0]
    again = lab.edit(inversion, replace(lab.edits(lengths=(TOKENS, 14)), terms=lab.edits(lengths=(TOKENS, 14)).terms[::-1]))[0]
    assert gap(edited, again) < 1e-3 < gap(edited, tiny_families.latent(family)["samples"])


SHIFTS = {
    "ModelSamplingSD3": ({"shift": 7.0}, {"SD3", "HiDream", "Wan"}),
    "ModelSamplingAuraFlow": ({"shift": 5.0}, {"QwenImage", "Lumina2", "ZImage", "AuraFlow"}),
    "ModelSamplingFlux": ({"max_shift": 1.15, "base_shift": 0.5, "width": 256, "height": 256}, {"Flux", "FluxSchnell", "Flux2", "Chroma"}),
}  # fmt: skip


def with_shift(model, family):
    """The model after the node by which its family's users move its levels; Cosmos has none."""
    import comfy_extras.nodes_model_advanced as advanced

    for name, (inputs, families) in SHIFTS.items():
        if family in families:
            node = getattr(advanced, name)()
            return getattr(node, node.FUNCTION)(model, **inputs)[0]
    return model


def with_lora(model, network):
    """The model with a LoRA on every matrix of its blocks, as a file of any trainer names them."""
    import comfy.sd

    generator, state = torch.Generator().manual_seed(9), {}
    for key, weight in model.model.state_dict().items():
        if key.endswith(".weight") and weight.ndim == 2 and any(f".{name}." in key for name in network.layout.blocks):
            name = key.removesuffix(".weight")
            state[f"{name}.lora_up.weight"] = torch.randn(weight.shape[0], 2, generator=generator) / 8
            state[f"{name}.lora_down.weight"] = torch.randn(2, weight.shape[1], generator=generator) / 8
    return comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_odd_size_under_a_mask_with_a_shift_a_lora_and_an_interrupt(labs, family):
    """One walk for each family, all on one inversion: what company a real workflow brings."""
    lab, mask = labs(family), torch.zeros(1, 88, 104)
    levels = lab.comfy.module("nodes.host_space").level_table
    model = with_shift(lab.model, family)
    assert family == "CosmosPredict2" or not torch.allclose(levels(model), levels(lab.model), rtol=0.05)
    mask[:, :, :48] = 1
    picture = tiny_families.latent(family, 11, 13, batch=2) | {"noise_mask": mask}
    inversion, rebuilt = lab.invert(picture, model, steps=4)
    assert gap(rebuilt, picture["samples"]) < 1e-4 and inversion.sigmas.shape == (5,)
    assert torch.allclose(inversion.sigmas, lab.sample.ledits_levels(levels(model), 4, 0.3, "authors"))

    def edit(model=model):
        return lab.edit(inversion, lab.edits(warmup=1, threshold=0.4), model)

    edited, masks = edit()
    factor = model.model.latent_format.spacial_downscale_ratio
    assert edited.shape == picture["samples"].shape and masks.shape == (4, 11 * factor, 13 * factor)
    change = (edited - rebuilt).abs().amax(1).reshape(2, 11, 13)
    assert change[..., 6:].max() < 1e-4 < 1e-3 < change[..., :6].amax((1, 2)).min()

    network, before = lab.comfy.module("nodes.host_looker").network_of(model.model), state_of(model)
    layer = type(getattr(model.model.diffusion_model, network.layout.blocks[0])[0])
    for at, politely in places(edit, 2, layer):
        interrupted(edit, at, politely, layer)
        assert state_of(model) == before
    assert gap(edit(with_lora(model, network))[0], edited) > 1e-3
    assert torch.equal(edit()[0], edited) and state_of(model) == before  # ComfyUI takes a LoRA's weights out at the next run


@pytest.mark.parametrize("family", ["Flux", "Flux2", "QwenImage"])
def test_reference_pictures_and_embedded_guidance_are_in_every_row(labs, family):
    """Carried over from the base: without them the rows' difference would be theirs, too."""
    lab, seen = labs(family), []
    more = {"reference_latents": [tiny_families.latent(family, 8, 8, seed=5)["samples"]]}
    more |= {} if family == "QwenImage" else {"guidance": 1.0}
    source = tiny_families.conditioning(family, 0, **more)
    inversion, rebuilt = lab.invert(source=source)
    assert gap(rebuilt, tiny_families.latent(family)["samples"]) < 1e-4
    apply = lab.model.model._apply_model

    def watched(*arguments, **more):
        seen.append((len(more.get("ref_latents") or ()), more.get("guidance")))
        return apply(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.model.model, "_apply_model", watched)
        edited = lab.edit(inversion)[0]
    assert gap(edited, rebuilt) > 1e-3 and seen and all(count == 1 for count, _ in seen)
    if family != "QwenImage":
        assert all((guidance == 1.0).all() for _, guidance in seen)


@pytest.mark.parametrize("family", ["QwenImage", "HiDream", "Flux"])
def test_an_inversion_of_a_flow_is_stored(labs, tmp_path, family):
    """With its space, its time axis, and what its texts carry."""
    lab = labs(family)
    storage = lab.comfy.module("csg.diffusion.storage")
    made = lab.invert(source=tiny_families.conditioning(family, 0, **({"guidance": 1.5} if family == "Flux" else {})))[0]
    storage.save(made, [tmp_path / "a.safetensors"])
    again = storage.load(tmp_path / "a.safetensors")
    assert again.space == made.space and again.samples.shape == made.samples.shape
    assert lab.edit_types.same_conditioning(again.source, made.source) and lab.edit_types.same_conditioning(again.negative, made.negative)
    assert torch.equal(lab.edit(again)[0], lab.edit(made)[0])


def test_anima_edits_by_its_adapters_words_and_is_stored(comfy, tmp_path):
    lab, storage = FamilyLab(comfy, "Anima"), comfy.module("csg.diffusion.storage")
    inversion, rebuilt = lab.invert()
    edited, masks = lab.edit(inversion, preserve="blend")
    assert gap(rebuilt, tiny_families.latent("Anima")["samples"]) < 1e-4 < 1e-3 < gap(edited, rebuilt) and 0 < masks.mean() < 0.9
    assert torch.equal(lab.in_pieces(inversion, lab.edits(), "blend"), edited)
    assert not torch.equal(lab.edit(inversion, preserve="blend", mask="noise")[0], edited)
    storage.save(inversion, [tmp_path / "a.safetensors"])
    again = storage.load(tmp_path / "a.safetensors")
    assert lab.edit_types.same_conditioning(again.source, inversion.source)
    assert torch.equal(lab.edit(again, preserve="blend")[0], edited)


def test_a_model_that_draws_pixels_works_without_attention(comfy, caplog):
    """Chroma Radiance draws from noise, as the others do, only not in latents."""
    lab, picture = FamilyLab(comfy, "ChromaRadiance"), tiny_families.latent("ChromaRadiance")
    inversion, rebuilt = lab.invert()
    edited, masks = lab.edit(inversion, preserve="blend")
    assert gap(rebuilt, picture["samples"]) < 1e-4 < 1e-3 < gap(edited, rebuilt) and masks.shape == (2, 16, 16)
    assert any("Where ChromaRadiance keeps its words is not known" in record.message for record in caplog.records)


def test_a_model_of_an_unheard_family_works_without_attention(comfy, caplog):
    lab = FamilyLab(comfy, "Lumina2")
    lab.model.model.__class__ = type("Unheard", (type(lab.model.model),), {})
    inversion, rebuilt = lab.invert()
    caplog.clear()
    edited, masks = lab.edit(inversion, preserve="blend")
    assert gap(rebuilt, tiny_families.latent("Lumina2")["samples"]) < 1e-4 < gap(edited, rebuilt)
    told = [record.message for record in caplog.records if "Unheard" in record.message]
    assert len(told) == 1 and "mask = intersect acts like mask = noise" in told[0]
    assert torch.equal(edited, lab.edit(inversion, preserve="blend", mask="noise")[0])


def test_a_negative_is_asked_for(labs):
    """All zeros are SDXL's own; a transformer was never shown them."""
    lab = labs("SD3")
    with pytest.raises(ValueError, match="Connect its CLIP to `clip` of the inversion. Or encode an empty prompt"):
        lab.sample.Invert.execute(lab.model, tiny_families.latent("SD3"), STEPS, 0.3, 2.0, 0, "authors", 0)


class Encoder:
    """A CLIP of a family: another random text for other words."""

    def __init__(self, family):
        self.family = family

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, text):
        return tiny_families.conditioning(self.family, 500 + len(text))


@pytest.mark.parametrize("family", ["SD3", "Flux", "QwenImage"])
@pytest.mark.parametrize("prompted", [False, True])
def test_an_open_negative_is_the_empty_prompt_of_the_clip(labs, family, prompted):
    """Flux's built-in guidance would be counted twice: 1 there, or the source's own."""
    lab, source = labs(family), tiny_families.conditioning(family, 0) if prompted else None
    guidance = {"guidance": 1.0} if family == "Flux" and not prompted else {}
    common = (lab.model, tiny_families.latent(family), STEPS, 0.3, 2.0, 3, "authors", 0)
    with torch.inference_mode():
        opened = lab.sample.Invert.execute(*common, source, clip=Encoder(family)).result[0]
        empty = tiny_families.conditioning(family, 500, **guidance)
        given = lab.sample.Invert.execute(*common, source, empty, clip=Encoder(family)).result[0]
    assert torch.equal(opened.noises, given.noises)
    assert lab.edit_types.same_conditioning(opened.negative, given.negative)
    base = "source" if prompted else "unconditional"
    assert torch.equal(lab.edit(opened, base=base)[0], lab.edit(given, base=base)[0])


@pytest.mark.parametrize("node", ["InvertDDPM", "InvertDDIM", "InvertFlowEdit"])
def test_the_baselines_open_negative_is_the_empty_prompt_too(labs, node):
    lab = labs("SD3")
    more = (4, 1.0) if node == "InvertDDIM" else (4, 1, 1.0, 3)
    with torch.inference_mode():
        out = getattr(lab.sample, node).execute(lab.model, tiny_families.latent("SD3"), *more, None, None, Encoder("SD3")).result[0]
    assert lab.edit_types.same_conditioning(out.negative, tiny_families.conditioning("SD3", 500))


def test_sdxl_keeps_its_zeros_beside_a_clip(comfy):
    from tests.host.tiny_lab import Lab

    lab = Lab(comfy)
    common = (lab.model, tiny_models.latent(), 4, 0.15, 1.0, 3, "authors", 0)
    with torch.inference_mode():
        with_clip, without = (lab.sample.Invert.execute(*common, clip=clip).result[0] for clip in (Encoder("SD3"), None))
    assert with_clip.negative is None and torch.equal(with_clip.noises, without.noises)


@pytest.mark.parametrize(("family", "shape", "words"), [
    ("SD3", (1, 4, 16, 16), r"\(1, 4, 16, 16\); \(batch, 16, height/8, width/8\) is expected"),
    ("Flux2", (1, 16, 16, 16), r"\(batch, 128, height/16, width/16\) is expected"), ("QwenImage", (1, 16, 3, 16, 16), "a clip of 3 frames"),
    ("SD3", (1, 16, 1, 16, 16), "is expected")])  # fmt: skip
def test_a_latent_of_another_model_is_refused(labs, family, shape, words):
    with pytest.raises(ValueError, match=words):
        labs(family).invert({"samples": torch.ones(shape)})


def test_a_still_latent_of_a_video_model_gets_its_axis(labs):
    lab, picture = labs("QwenImage"), tiny_families.latent("QwenImage")["samples"]
    assert torch.equal(lab.invert({"samples": picture[:, :, 0]})[1], lab.invert()[1])


def test_an_inversion_of_another_family_is_refused(labs, inversions):
    with pytest.raises(ValueError, match="made with model"):
        labs("Flux").edit(inversions("SD3"))


@pytest.mark.parametrize("family", ["SD3", "Flux", "Flux2", "QwenImage", "AuraFlow", "Wan"])
def test_a_checkpoint_of_the_same_kind_is_told_apart_by_its_last_weight(labs, family):
    identity, model = labs(family).comfy.module("nodes.host_model").model_identity, tiny_families.model
    assert identity(model(family)) == identity(labs(family).model) != identity(model(family, seed=1))


@pytest.mark.parametrize("family", ["SD3", "QwenImage"])
def test_a_stock_sampler_follows_the_guider_and_the_patched_model(labs, family):
    """From noise, by Euler: the guider's picture is that of the patched model, and another one than without concepts."""
    from comfy_extras.nodes_custom_sampler import (
        BasicScheduler,
        CFGGuider,
        KSamplerSelect,
        RandomNoise,
        SamplerCustomAdvanced,
    )

    lab = labs(family)
    empty = {"samples": torch.zeros_like(tiny_families.latent(family)["samples"])}

    @torch.inference_mode()
    def drawn(guider):
        sigmas = BasicScheduler.execute(lab.model, "normal", 6, 1.0).result[0]
        euler, noise = KSamplerSelect.execute("euler").result[0], RandomNoise.execute(4).result[0]
        return SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, empty).result[0]["samples"]

    def plain(model):
        return CFGGuider.execute(model, lab.source, lab.negative, 2.0).result[0]

    guided = lab.compose.Guider.execute(lab.model, lab.edits(), "source", "intersect", lab.source, lab.negative, 2.0).result[0]
    patched = lab.compose.ApplyToModel.execute(lab.model, lab.edits(), "intersect").result[0]
    by_guider, by_patch = drawn(guided), drawn(plain(patched))
    assert gap(by_guider, by_patch) < 1e-3 < gap(by_guider, drawn(plain(lab.model)))


def test_unets_keep_the_inversions_they_had(comfy):
    """SDXL beside them: its space is the old one, its levels are handed over as they are."""
    from tests.host.tiny_lab import Lab

    lab = Lab(comfy)
    inversion = lab.invert(tiny_models.latent(), source=lab.source)[0]
    assert inversion.space.kind == "variance preserving" and inversion.space.shown(inversion.sigmas) is inversion.sigmas


@pytest.mark.parametrize("family", ["SD3", "QwenImage", "CosmosPredict2"])
def test_flowedit(labs, family):
    """Without anything asked the picture comes back bit by bit; concepts act inside their masks, and a prompt anywhere."""
    lab, picture = labs(family), tiny_families.latent(family)
    with torch.inference_mode():
        out = lab.sample.InvertFlowEdit.execute(lab.model, picture, 8, 2, 2.0, 3, lab.source, lab.negative).result
        inversion, rebuilt = out[0], out[1]["samples"]
        prompted = lab.sample.EditWithPrompt.execute(lab.model, inversion, tiny_families.conditioning(family, 44), 4.0).result[0]["samples"]
    assert inversion.steps == 6 and gap(rebuilt, picture["samples"]) < 1e-5
    assert gap(lab.edit(inversion, lab.edit_types.Edits())[0], rebuilt) < 1e-5 < 1e-3 < gap(prompted, rebuilt)
    edited, masks = lab.edit(inversion, preserve="blend")
    assert 0 < masks.mean() < 0.9 and gap(edited, rebuilt) > 1e-3
    assert (edited - rebuilt).abs().amax(1).lt(1e-5).any()


def test_flowedit_on_a_unet(comfy):
    from tests.host.tiny_lab import Lab

    lab = Lab(comfy)
    out = lab.sample.InvertFlowEdit.execute(lab.model, tiny_models.latent(), 8, 2, 2.0, 3, lab.source, tiny_models.conditioning(1)).result
    assert gap(out[1]["samples"], tiny_models.latent()["samples"]) < 1e-5
    assert gap(lab.edit(out[0])[0], out[1]["samples"]) > 1e-3


@pytest.mark.parametrize("node", ["InvertFlowEdit", "InvertDDPM"])
def test_no_steps_left_is_refused(labs, node):
    lab = labs("SD3")
    with pytest.raises(ValueError, match="skip_steps is 7 of 8 steps; leave at least 2"):
        getattr(lab.sample, node).execute(lab.model, tiny_families.latent("SD3"), 8, 7, 1.0, 0, lab.source, lab.negative)


@pytest.mark.parametrize("node", ["InvertDDPM", "InvertDDIM"])
def test_the_other_inversions_of_a_flow(labs, node):
    """DDPM inversion is exact but for its last noise; DDIM's is only near, and both can be edited."""
    lab = labs("SD3")
    more = (8, 2, 2.0, 3) if node == "InvertDDPM" else (40, 1.0)
    with torch.inference_mode():
        out = getattr(lab.sample, node).execute(lab.model, tiny_families.latent("SD3"), *more, lab.source, lab.negative).result
    picture = tiny_families.latent("SD3")["samples"]
    assert (out[1]["samples"] - picture).std() < 0.2 * picture.std()
    assert gap(lab.edit(out[0])[0], out[1]["samples"]) > 1e-3
