"""Beside the nodes that people combine with it: each keeps its effect, and the capture changes nothing of it."""

import pytest
import torch

from tests.host import tiny_models
from tests.host.tiny_lab import Lab, gap, hooks_of, state_of

CLOSE = 2e-3


@pytest.fixture(scope="module")
def fine(comfy):
    """SD1.5's topology, whose attention begins at the latent's own size: token merging acts there alone."""
    return Lab(comfy, kind="SD15")


@pytest.fixture(scope="module")
def loras(lab, tmp_path_factory):
    """Name of a LoRA in ComfyUI's list."""
    import folder_paths

    folder = tmp_path_factory.mktemp("loras")
    folder_paths.add_model_folder_path("loras", str(folder))
    return tiny_models.lora(lab.model, folder / "citizen.safetensors")


@pytest.fixture(scope="module")
def plain(lab):
    """Inversion with a guided source prompt, by the model alone."""
    return lab.invert(source=lab.source)[0]


def first(output):
    """The first output of a node of either generation."""
    return getattr(output, "result", output)[0]


def weight_lora(model, name):
    import nodes

    return nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, 1.0)[0]


def bypass_lora(model, name):
    from comfy_extras.nodes_lora_debug import LoraLoaderBypassModelOnly

    loader = LoraLoaderBypassModelOnly()
    return getattr(loader, loader.FUNCTION)(model, name, 1.0)[0]


def perturbed_attention(model, _):
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    return first(PerturbedAttentionGuidance.execute(model, 2.0))


def free_u(model, _):
    from comfy_extras.nodes_freelunch import FreeU_V2

    return first(FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2))


def rescale_cfg(model, _):
    from comfy_extras.nodes_model_advanced import RescaleCFG

    return RescaleCFG().patch(model, 0.7)[0]


def frequencies_before_guidance(model, _):
    """Changes the two predictions before they are guided."""
    from comfy_extras.nodes_fresca import FreSca

    return first(FreSca.execute(model, 0.5, 1.6, 4))


def hyper_tile(model, _):
    from comfy_extras.nodes_hypertile import HyperTile

    return first(HyperTile.execute(model, 32, 1, 2, False))


def token_merging(model, _):
    from comfy_extras.nodes_tomesd import TomePatchModel

    return first(TomePatchModel.execute(model, 0.5))


def model_merge(model, _):
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    return ModelMergeSimple().merge(model, tiny_models.model(seed=4), 0.8)[0]


def image_prompt(model, _):
    """The way IPAdapter patches: one embedding for the positive row, one for the negative, chosen by `cond_or_uncond`."""
    from comfy.ldm.modules.attention import optimized_attention

    embeddings = [torch.randn(1, 4, 128, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]

    def attend(q, k, v, extra):
        rows = extra["cond_or_uncond"]
        picked = torch.cat([embeddings[i].expand(len(q) // len(rows), -1, -1) for i in rows]).to(q)
        own = optimized_attention(q, k, v, extra["n_heads"])
        return own + optimized_attention(q, picked, picked, extra["n_heads"])

    patched = model.clone()
    for block in (("input", 7), ("output", 0), ("output", 1)):
        patched.set_model_attn2_replace(attend, *block)
    return patched


PATCHES = [
    weight_lora, bypass_lora, perturbed_attention, free_u, rescale_cfg, frequencies_before_guidance, hyper_tile, model_merge, image_prompt,
]  # fmt: skip
NAMED = {"ids": lambda patch: patch.__name__}


def check_company(lab, inversion, model):
    """The patch keeps its effect, the capture is neutral to the bit, and the model that came in stays as it was."""
    before, outside, inside = lab.edit(inversion)[0], state_of(lab.model), state_of(model)["options"]
    torch.manual_seed(1)
    edited, masks = lab.edit(inversion, model=model)
    assert edited.isfinite().all() and 0 < masks.mean() < 1
    assert gap(edited, before) > 1e-3, "the patch had no effect"
    captured, bare = (lab.predictions(inversion, mask, model) for mask in ("intersect", "noise"))
    assert captured.keys() == bare.keys() and all(torch.equal(captured[row], bare[row]) for row in bare)
    assert state_of(model)["options"] == inside
    assert torch.equal(lab.edit(inversion)[0], before), "the model that came in has changed"
    assert state_of(lab.model) == outside


@pytest.mark.parametrize("patch", PATCHES, **NAMED)
def test_a_patched_model_keeps_its_effect_and_the_capture_leaves_no_trace(lab, plain, loras, patch):
    check_company(lab, plain, patch(lab.model, loras))


def test_token_merging_keeps_its_effect_and_the_capture_leaves_no_trace(fine):
    inversion, _ = fine.invert(source=fine.source, negative=tiny_models.conditioning(1))
    check_company(fine, inversion, token_merging(fine.model, None))


@pytest.mark.parametrize("patch", PATCHES, **NAMED)
def test_what_a_patched_model_inverts_it_reconstructs(lab, loras, patch, monkeypatch):
    model = patch(lab.model, loras)
    inversion, _ = lab.invert(model=model, source=lab.source)
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0), model=model)
    assert gap(replayed, inversion.samples) < CLOSE


def stock(model, edits, lab):
    """A stock sampler on the model with concept edits in it."""
    import nodes

    patched = lab.compose.ApplyToModel.execute(model, edits, "intersect").result[0]
    empty = {"samples": torch.zeros(1, 4, 16, 16)}
    with torch.inference_mode():
        out = nodes.common_ksampler(patched, 1, 6, 4.0, "euler", "normal", lab.source, tiny_models.conditioning(1), empty)
    return out[0]["samples"]


@pytest.mark.parametrize("patch", [weight_lora, bypass_lora, perturbed_attention, rescale_cfg, image_prompt], **NAMED)
def test_a_model_with_edits_in_it_keeps_other_patches_too(lab, loras, patch):
    model, idle = patch(lab.model, loras), lab.edits(scale=0.0)
    edited = stock(model, lab.edits(), lab)
    assert gap(edited, stock(model, idle, lab)) > 1e-3, "the edits had no effect"
    assert gap(edited, stock(lab.model, lab.edits(), lab)) > 1e-3, "the patch had no effect"
    assert not hooks_of(lab.model)


def area(source):
    import nodes

    half = nodes.ConditioningSetArea().append(tiny_models.conditioning(2), 64, 64, 0, 0, 1.0)[0]
    return source + half


def mask(source):
    import nodes

    region = torch.zeros(1, 128, 128)
    region[:, :64] = 1
    return source + nodes.ConditioningSetMask().append(tiny_models.conditioning(2), region, "default", 1.0)[0]


def time_range(source):
    import nodes

    late = nodes.ConditioningSetTimestepRange().set_range(tiny_models.conditioning(2), 0.5, 1.0)[0]
    return nodes.ConditioningSetTimestepRange().set_range(source, 0.0, 0.5)[0] + late


def control(source):
    import nodes

    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    return nodes.ControlNetApply().apply_controlnet(source, tiny_models.controlnet(), hint, 1.0)[0]


@pytest.fixture(scope="module")
def conditionings(loras):
    from comfy_extras.nodes_hooks import ConditioningSetProperties, CreateHookLoraModelOnly

    def hook(source):
        hooks = CreateHookLoraModelOnly().create_hook_model_only(loras, 1.0)[0]
        return ConditioningSetProperties().set_properties(source, 1.0, "default", hooks=hooks)[0]

    return {"area": area, "mask": mask, "time range": time_range, "ControlNet": control, "hook": hook}


@pytest.mark.parametrize("kind", ["area", "mask", "time range", "ControlNet", "hook"])
def test_conditionings_with_more_in_them_work_and_reconstruct(lab, plain, conditionings, kind, monkeypatch):
    before, source = state_of(lab.model), conditionings[kind](lab.source)
    inversion, _ = lab.invert(source=source)
    assert gap(inversion.noises, plain.noises) > 1e-3, "it had no effect"
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0))
    assert gap(replayed, inversion.samples) < CLOSE
    captured, bare = (lab.predictions(inversion, which) for which in ("intersect", "noise"))
    assert all(torch.equal(captured[row], bare[row]) for row in bare)
    edited, masks = lab.edit(inversion)
    assert edited.isfinite().all() and 0 < masks.mean() < 1
    assert state_of(lab.model) == before


def test_a_controlnet_for_every_row_reaches_every_row(lab):
    inversion, seen = lab.invert(source=control(lab.source))[0], []
    guider = lab.guider(inversion)
    predict = guider.predict_noise

    def watched(*arguments, **options):
        seen.append({key: all("control" in one for one in conds) for key, conds in guider.conds.items()})
        return predict(*arguments, **options)

    guider.predict_noise = watched
    lab.replay(guider, inversion)
    assert seen and all(rows.keys() >= {"positive", "negative", "concept 0"} and all(rows.values()) for rows in seen)
