"""Edit models: the picture as a reference in every row, and every concept an instruction of its own."""

import pytest
import torch

from tests.host import test_families_words as clips
from tests.host import tiny_families
from tests.host.test_families import FamilyLab
from tests.host.tiny_lab import gap

SIZES = ((16, 16), (15, 9))  # of references; the picture's latent is 16 x 16
MODELS = {  # family, changes of its network, makes its CLIP, numbers per token of its encoder, whether that sees the picture
    "Kontext": ("Flux", {}, clips.flux, 4096, False),
    "Flux2": ("Flux2", {}, clips.klein, 32, False),
    "Qwen2509": ("QwenImage", {}, clips.qwen_image, 96, True),
    "Qwen2511": ("QwenImage", {"default_ref_method": "index_timestep_zero"}, clips.qwen_image, 96, True),
}
STREET = """{"base_prompt": "a red house by dry ground", "concepts": [
  {"name": "house", "value": "red", "values": {"red": "a red house", "blue": "a house painted blue"}},
  {"name": "ground", "value": "dry", "values": {"dry": "dry ground", "wet": "wet ground with puddles"}},
  {"name": "car", "value": "there", "values": {"there": "a parked car", "none": ""}}]}"""


class Meanings(torch.nn.Module):
    """A text encoder without a network: a random vector for every token, and for a picture as many as it has colours."""

    def __init__(self, width, layers=(), mask=False):
        super().__init__()
        self.width, self.layers, self.mask = width, layers, mask

    def vectors(self, token):
        if isinstance(token, dict):
            return token["data"].mean((0, 1, 2))[:, None].expand(3, self.width)
        return torch.randn(1, self.width, generator=torch.Generator().manual_seed(int(token)))

    def encode_token_weights(self, chunks):
        out = torch.cat([self.vectors(token) for chunk in chunks for token, *_ in chunk])
        out = out.expand(1, *self.layers, *out.shape).clone()
        return (out, torch.zeros(1, 768), {"attention_mask": torch.ones(1, out.shape[-2])})[: 3 if self.mask else 2]


class EditLab(FamilyLab):
    """An edit model with its own CLIP, and the picture that it is shown."""

    def __init__(self, comfy, name):
        family, changes, make, width, sees = MODELS[name]
        super().__init__(comfy, family)
        self.model, self.counterfactuals = tiny_families.model(family, **changes), comfy.module("csg.causal.counterfactual")
        self.encode, self.formats = comfy.module("nodes.edit").EncodeEdits, comfy.module("csg.causal.formats")
        self.image = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(7)) if sees else None
        self.clip, self.inversions = make(), {}
        for key, encoder in list(self.clip.cond_stage_model._modules.items()):
            setattr(self.clip.cond_stage_model, key, Meanings(width, encoder.layers, encoder.mask))

    def counterfactual(self, **values):
        return self.counterfactuals.propagate(self.formats.read_json(STREET).do(values or {"house": "blue", "ground": "wet"}), {})

    def encoded(self, counterfactual=None, scale=6.0, strengths=""):
        """(edits, positive, source, prompt) by instructions; masks a tenth of the picture each."""
        return self.encode.execute(self.clip, counterfactual or self.counterfactual(), scale, 0.9, 2, "intervened + descendants",
                                   strengths=strengths, wording="instructions", image=self.image).result  # fmt: skip

    def shown(self, conditioning, size=(16, 16)):
        """With the picture as reference, by ComfyUI's own node."""
        from comfy_extras.nodes_edit_model import ReferenceLatent

        return ReferenceLatent.execute(conditioning, tiny_families.latent(self.family, *size, seed=5)).result[0]

    def inverted(self, size=(16, 16)):
        """(inversion, reconstruction) with the instruction that changes nothing as source prompt."""
        if size not in self.inversions:
            text = self.comfy.module("nodes.host_words").ClipText(self.clip, self.image).encode("")
            self.negative = self.shown(text, size)
            self.inversions[size] = self.invert(source=self.shown(self.encoded()[2], size), guidance=1.0)
        return self.inversions[size]


@pytest.fixture(scope="module")
def labs(comfy):
    made = {}
    return lambda name: made[name] if name in made else made.setdefault(name, EditLab(comfy, name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", SIZES)
def test_the_picture_comes_back_with_a_reference_of_any_size(labs, name, size):
    """Replayed from the first level: nothing is taken from the recorded path."""
    lab = labs(name)
    inversion, rebuilt = lab.inverted(size)
    samples = tiny_families.latent(lab.family)["samples"]
    assert gap(rebuilt, samples) < 1e-4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.replaying, "first_step", lambda *_: 0)
        replayed = lab.edit(inversion, lab.edit_types.Edits())[0]
    assert gap(replayed, samples) < 1e-4
    other = lab.inverted((8, 12))[0]
    assert gap(other.noises, inversion.noises) > 1e-3, "the reference was not looked at"


@pytest.mark.parametrize("name", MODELS)
def test_two_instructions_act_in_their_own_places_alone(labs, name):
    lab = labs(name)
    inversion, unedited = lab.inverted((8, 12))
    factor = lab.model.model.latent_format.spacial_downscale_ratio
    places, changes = {}, {}
    for strengths in ("", "ground = 0", "house = 0"):
        edited, masks = lab.edit(inversion, lab.encoded(strengths=strengths)[0], preserve="blend")
        changes[strengths] = (edited - unedited).abs().amax(1).reshape(16, 16)
        places[strengths] = torch.nn.functional.max_pool2d(masks[:, None], factor)[:, 0] > 0
    house, ground = places[""]
    assert not torch.equal(house, ground) and 0 < house.float().mean() < 0.9
    reach = torch.nn.functional.max_pool2d((house | ground).float()[None, None], 5, 1, 2)[0, 0] > 0  # the blend's soft edge
    assert (~reach).any() and changes[""][~reach].max() < 1e-5 < 1e-3 < changes[""][reach].max()
    alone = changes["ground = 0"], changes["house = 0"]
    assert min(change.max() for change in alone) > 1e-3 and gap(*alone) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_outside_the_blend_the_latent_is_the_paths_own(labs, name):
    """With the places of what is preserved left out of the masks; exactly."""
    lab, finals = labs(name), []
    inversion, sampling = lab.inverted((8, 12))[0], lab.replaying.replay

    def watched(denoise, made, **options):
        blends, blend = {}, options["blend"]
        for step in sampling(denoise, made, **options | {"blend": lambda i: blends.setdefault(i, blend(i))}):
            yield step
        finals.append((step.x, blends[made.steps - 1]))

    edits = lab.encoded()[0]
    assert set(edits.preserved) == {"car"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.replaying, "replay", watched)
        lab.edit(inversion, edits, preserve="concepts")
    (final, kept), = finals
    outside = (kept == 0).expand_as(final)
    assert outside.any() and gap(final[outside], inversion.latent[outside]) == 0.0
    assert gap(final[~outside], inversion.latent[~outside]) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_the_mask_is_read_from_the_words_of_the_phrase_inside_the_row(labs, name):
    lab = labs(name)
    lab.inverted()
    edits, positive, source, prompt = lab.encoded()
    made = lab.comfy.module("csg.diffusion.plan")
    plan = made.plan(edits, lab.edit_types.Base("source", lab.negative, lab.shown(source), 1.0), lab.guidance.GuidanceSettings())
    assert made.Prompt.BEFORE not in plan.conditionings, "the inversion's own row tells it already"
    for k, term in enumerate(edits.terms):
        words = plan.words[made.Concept(k)]
        assert words.row == made.Concept(k) and words.length == term.conditioning[0][0].shape[1]
        context, alone = term.conditioning[0][0][0], lab.comfy.module("nodes.host_words").ClipText(lab.clip).encode(term.phrase)[0][0][0]
        held = context[list(map(int, words.positions))]
        spelt = [float((alone - vector).abs().amax(1).min()) == 0 for vector in held]
        assert len(held) >= 4 and all(spelt[1:]), f"{term.phrase} has other columns"  # the first is cut otherwise inside a sentence
    assert prompt.startswith("Change the house from a red house to a house painted blue.") and positive is edits.target


@pytest.mark.parametrize("name", MODELS)
def test_every_row_has_the_reference(labs, name):
    lab, seen = labs(name), []
    inversion = lab.inverted((8, 12))[0]
    apply = lab.model.model._apply_model

    def watched(*arguments, **more):
        seen.append([tuple(one.shape[-2:]) for one in more.get("ref_latents") or ()])
        return apply(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.model.model, "_apply_model", watched)
        lab.edit(inversion, lab.encoded()[0], contrast="captions", preserve="concepts")
    assert seen and all(sizes == [(8, 12)] for sizes in seen)


@pytest.mark.parametrize("contrast", ["unconditional", "factual", "captions"])
@pytest.mark.parametrize("mask_source", ["edit", "both"])
def test_every_way_of_guidance_takes_instructions(labs, contrast, mask_source):
    """A removal too: it is asked for in words, and found by the words of what goes."""
    lab = labs("Qwen2509")
    inversion, unedited = lab.inverted((8, 12))
    edits = lab.encoded(lab.counterfactual(house="blue", car="none"))[0]
    assert [term.remove for term in edits.terms] == [False, False] and "Remove the car: a parked car." in edits.prompt
    edited, masks = lab.edit(inversion, edits, preserve="concepts", contrast=contrast, mask_source=mask_source)
    assert gap(edited, unedited) > 1e-3 and len(masks) == 2 and all(0 < mask.mean() < 0.9 for mask in masks)


def test_the_picture_that_the_encoder_sees_is_in_every_row(labs):
    lab = labs("Qwen2509")
    first = lab.encoded()[0]
    image, lab.image = lab.image, lab.image * 0.5
    try:
        second = lab.encoded()[0]
    finally:
        lab.image = image
    for a, b in zip([*(t.conditioning for t in first.terms), first.target, first.source],
                    [*(t.conditioning for t in second.terms), second.target, second.source]):  # fmt: skip
        assert a[0][0].shape == b[0][0].shape and gap(a[0][0], b[0][0]) > 0.01
    assert [t.tokens for t in first.terms] == [t.tokens for t in second.terms]
