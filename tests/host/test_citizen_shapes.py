"""Sizes, batches, masks, precisions, kinds of models, short memory and several devices."""

import threading
from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_citizen_company import control
from tests.host.tiny_lab import STEPS, Lab, gap, hooks_of, state_of

EXACT = 5e-4
CPU_TOO = torch.device("cpu", 0)  # for ComfyUI another device than "cpu"


def joined(inversions):
    """Several inversions of one picture each as one of a batch, with the same noises."""
    first, samples = inversions[0], torch.cat([one.samples for one in inversions])
    parts = {name: torch.cat([getattr(one, name) for one in inversions], 1) for name in ("path", "denoised", "noises")}
    return replace(first, **parts, samples=samples)


@pytest.fixture(scope="module")
def pictures():
    return [tiny_models.latent(seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def singles(lab, pictures):
    return [lab.invert(picture, source=lab.source)[0] for picture in pictures]


@pytest.mark.parametrize("mask", ["intersect", "attention", "noise"])
@pytest.mark.parametrize("preserve", ["off", "blend"])
def test_a_batch_is_edited_as_its_pictures_are_one_by_one(lab, singles, mask, preserve):
    edited, masks = lab.edit(joined(singles), mask=mask, preserve=preserve)
    assert edited.shape == (2, 4, 16, 16) and masks.shape == (4, 128, 128)
    for k, single in enumerate(singles):
        alone, its_masks = lab.edit(single, mask=mask, preserve=preserve)
        assert gap(edited[k : k + 1], alone) < 2e-3
        assert (masks.view(2, 2, 128, 128)[:, k] == its_masks).float().mean() > 0.99


def test_a_batch_is_inverted_as_its_pictures_are_with_the_same_draws(lab, pictures, singles, monkeypatch):
    batch = {"samples": torch.cat([picture["samples"] for picture in pictures])}
    draw = lab.inversion.reference_path
    apart = lambda latent, sigmas, *how: torch.cat([draw(one[None], sigmas, *how) for one in latent], 1)  # noqa: E731
    monkeypatch.setattr(lab.inversion, "reference_path", apart)
    found, expected = lab.invert(batch, source=lab.source)[0], joined(singles)
    assert gap(found.noises, expected.noises) < 5e-3 and gap(found.path, expected.path) < 1e-3


def test_a_batch_draws_other_noises_for_every_picture(lab, pictures):
    twice = {"samples": pictures[0]["samples"].repeat(2, 1, 1, 1)}
    inversion, rebuilt = lab.invert(twice)
    assert (inversion.path[0, 0] - inversion.path[0, 1]).abs().mean() > 1
    assert gap(rebuilt, twice["samples"]) < EXACT


@pytest.mark.parametrize("size", [(24, 40), (33, 31), (16, 17), (9, 64)])
@pytest.mark.parametrize("kind", ["SDXL", "SD15"])
def test_non_square_and_odd_sizes(comfy, kind, size):
    lab = Lab(comfy, kind=kind)
    negative = None if kind == "SDXL" else tiny_models.conditioning(1)
    inversion, rebuilt = lab.invert(tiny_models.latent(*size), negative=negative)
    assert gap(rebuilt, inversion.samples) < EXACT
    edited, masks = lab.edit(inversion, preserve="blend")
    assert edited.shape == (1, 4, *size) and edited.isfinite().all()
    assert masks.shape == (2, 8 * size[0], 8 * size[1]) and 0 < masks.mean() < 1


@pytest.mark.parametrize("size", [(24, 40), (33, 31)])
def test_a_whole_replay_leads_back_at_odd_sizes_too(lab, monkeypatch, size):
    """Of every picture of a batch, with every step evaluated."""
    inversion, _ = lab.invert(tiny_models.latent(*size, batch=2), source=lab.source)
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0))
    assert gap(replayed, inversion.samples) < 2e-3


KINDS = {
    "SDXL": {"kind": "SDXL"},
    "SD1.5": {"kind": "SD15"},
    "SD2": {"kind": "SD20"},
    "SD2 v": {"kind": "SD20", "v_prediction": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["intersect", "attention", "noise"])
def test_every_topology_inverts_exactly_and_is_edited(comfy, monkeypatch, kind, mask):
    lab = Lab(comfy, **KINDS[kind])
    inversion, _ = lab.invert(source=lab.source, negative=tiny_models.conditioning(1))
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0))
    assert gap(replayed, inversion.samples) < 2e-3
    edited, masks = lab.edit(inversion, mask=mask)
    assert (edited - inversion.samples).abs().max() > 0.05
    assert 0 < masks.mean() < 0.7 and not hooks_of(lab.model)


FULL_SIZE = {  # width, context, deepest transformers; how many attention layers make the masks, at which latent
    "SDXL": ({"context_dim": 2048, "adm_in_channels": 2816, "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
              "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "num_head_channels": 64}, 50, 128),
    "SD15": ({"context_dim": 768, "num_heads": 8}, 5, 64),
    "SD20": ({"context_dim": 1024, "num_head_channels": 64}, 5, 96),
}  # fmt: skip


@pytest.mark.parametrize("kind", FULL_SIZE)
def test_the_layers_of_the_full_models_are_the_references(comfy, monkeypatch, kind):
    """Those of the down and up blocks at a quarter of the latent: 20 + 30 in SDXL, 2 + 3 in SD1.5 and SD2. Without numbers."""
    from comfy.ldm.modules import attention as layers_of_comfyui
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.ops import disable_weight_init

    more, layers, side = FULL_SIZE[kind]
    shape, heads = tiny_models.TOPOLOGIES[kind]
    config = {**shape, **{name: heads[name] for name in heads if name.startswith("num")}, **more, "model_channels": 320}
    monkeypatch.setattr(layers_of_comfyui, "optimized_attention", lambda q, *_, **__: q)  # it asks how much memory is free
    attention = comfy.module("csg.diffusion.attention")
    capture = attention.AttentionCapture(attention.cells_of(side, side), {"words": attention.Words((1, 2), 77)})
    with torch.device("meta"), torch.inference_mode():
        unet = UNetModel(**config, dtype=torch.float32, operations=disable_weight_init)
        y = torch.empty(2, config["adm_in_channels"]) if config["adm_in_channels"] else None
        with capture.hooked([unet]), capture.rows(["base", "words"]):
            unet(torch.empty(2, 4, side, side), torch.zeros(2), torch.empty(2, 77, config["context_dim"]), y=y)
    assert capture.layers("words") == layers and capture.layers("base") == 0
    assert capture.maps()["words"].shape == (1, side // 4, side // 4)


@pytest.mark.parametrize("kind", ["SD15", "SD20"])
def test_a_model_without_a_zero_conditioning_says_what_to_connect(comfy, kind):
    with pytest.raises(ValueError, match="empty prompt.*negative"):
        Lab(comfy, kind=kind).invert()


@pytest.mark.parametrize("zsnr", [False, True])
@pytest.mark.parametrize("sampling", ["v_prediction", "eps"])
def test_a_model_with_another_prediction_uses_it_and_its_noise_levels(lab, monkeypatch, sampling, zsnr):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    before = state_of(lab.model)
    model = ModelSamplingDiscrete().patch(lab.model, sampling, zsnr)[0]
    inversion, _ = lab.invert(model=model, source=lab.source)
    plain, _ = lab.invert(source=lab.source)
    table = model.get_model_object("model_sampling").sigmas
    assert bool(torch.isin(inversion.sigmas, table.float()).all())
    assert torch.equal(inversion.sigmas, plain.sigmas) != zsnr
    assert torch.equal(inversion.noises, plain.noises) == (sampling == "eps" and not zsnr)
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0), model=model)
    assert gap(replayed, inversion.samples) < 5e-3
    edited, masks = lab.edit(inversion, model=model)
    assert edited.isfinite().all() and 0 < masks.mean() < 1 and state_of(lab.model) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_masked_in_full_precision(comfy, monkeypatch, dtype):
    lab = Lab(comfy, dtype=dtype)
    inversion, _ = lab.invert(source=lab.source)
    seen, quantile = [], lab.guidance.quantile_mask
    monkeypatch.setattr(lab.guidance, "quantile_mask", lambda values, share: (seen.append(values.dtype), quantile(values, share))[1])
    edited, masks = lab.edit(inversion)
    assert set(seen) == {torch.float32} and edited.dtype == masks.dtype == inversion.noises.dtype == torch.float32
    assert edited.isfinite().all() and 0 < masks.mean() < 0.7
    with lab.from_the_first_step(monkeypatch):
        replayed, _ = lab.edit(inversion, lab.edits(scale=0.0))
    assert (replayed - inversion.samples).abs().mean() < 0.1


def half_masked(height=16, width=16):
    """LATENT whose left half may change."""
    region = torch.zeros(1, 8 * height, 8 * width)
    region[:, :, : 4 * width] = 1
    return tiny_models.latent(height, width) | {"noise_mask": region}


@pytest.mark.parametrize("preserve", ["off", "blend"])
@pytest.mark.parametrize("schedule", ["authors", "diffusers"])
def test_a_noise_mask_is_respected(lab, preserve, schedule):
    inversion, _ = lab.invert(half_masked(), source=lab.source, schedule=schedule)
    edited, _ = lab.edit(inversion, mask="none", preserve=preserve)
    change = (edited - inversion.samples).abs().amax(1)[0]
    assert change[:, 9:].max() < 1e-4 and change[:, :7].max() > 0.05


def test_a_noise_mask_is_respected_by_the_baseline_and_by_the_custom_sampler(lab):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    inversion, _ = lab.invert(half_masked(), source=lab.source)
    sampler, sigmas, noise, latent = lab.compose.ReplaySampler.execute(inversion).result
    with torch.inference_mode():
        prompted = lab.sample.EditWithPrompt.execute(lab.model, inversion, tiny_models.conditioning(3), 5.0).result[0]["samples"]
        custom = SamplerCustomAdvanced.execute(noise, lab.guider(inversion), sampler, sigmas, latent).result[0]["samples"]
    for edited in (prompted, custom):
        change = (edited - inversion.samples).abs().amax(1)[0]
        assert change[:, 9:].max() < 1e-4 and change[:, :7].max() > 0.05
    assert torch.equal(custom, lab.edit(inversion)[0])


def test_an_inversion_is_replayed_by_stock_guiders_too(lab):
    from comfy_extras.nodes_custom_sampler import CFGGuider, SamplerCustomAdvanced

    inversion, rebuilt = lab.invert(source=lab.source)
    sampler, sigmas, noise, latent = lab.compose.ReplaySampler.execute(inversion).result
    negative = lab.comfy.module("nodes.host_model").zeros_conditioning(lab.model)
    guider = CFGGuider.execute(lab.model, lab.source, negative, 3.5).result[0]
    with torch.inference_mode():
        replayed = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    assert gap(replayed, rebuilt) < 2e-3
    blending = lab.compose.ReplaySampler.execute(inversion, "blend").result[0]
    with pytest.raises(ValueError, match="needs the concepts' masks.*CSG Guider"):
        SamplerCustomAdvanced.execute(noise, guider, blending, sigmas, latent)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_memory_so_short_that_rows_run_apart_gives_the_same(lab, singles, monkeypatch, rows):
    import comfy.model_base
    import comfy.model_patcher

    whole, masks = lab.edit(singles[0], lab.edits(count=3))
    base, sizes = comfy.model_base.BaseModel, []
    apply = base._apply_model
    monkeypatch.setattr(base, "_apply_model", lambda self, x, *a, **k: (sizes.append(len(x)), apply(self, x, *a, **k))[1])
    monkeypatch.setattr(base, "memory_required", lambda self, shape, **_: shape[0])
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "get_free_memory", lambda *_: 1.5 * rows + 0.1)
    split, its_masks = lab.edit(singles[0], lab.edits(count=3))
    assert max(sizes) == rows and gap(split, whole) < 2e-3
    assert (masks == its_masks).float().mean() > 0.99 and not hooks_of(lab.model)


def test_levels_run_together_or_one_by_one_give_the_same_inversion(lab, monkeypatch):
    together, _ = lab.invert(source=lab.source)
    monkeypatch.setattr(lab.host, "levels_at_once", lambda *_: 1)
    alone, _ = lab.invert(source=lab.source)
    assert gap(together.noises, alone.noises) < 5e-3


def test_as_many_levels_run_together_as_memory_holds(lab, monkeypatch):
    """On a GPU; one at a time where something may look at the noise level."""
    import comfy.model_management

    model, shape = lab.model.clone(), (2, 4, 16, 16)
    bases = lab.edit_types.Base(), lab.edit_types.Base("source", None, lab.source, 3.5)
    plain, guided = (lab.host.CSGGuider(model, base) for base in bases)
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda _: False)
    monkeypatch.setattr(model.model, "memory_required", lambda shape, **_: shape[0])

    def levels(free, guider=plain):
        monkeypatch.setattr(model, "get_free_memory", lambda _: free * 1.5)
        guider.conds = guider.original_conds  # as they are when it samples
        return lab.host.levels_at_once(model, shape, guider)

    assert [levels(free) for free in (0.5, 2, 6.9, 12, 1e9)] == [1, 1, 3, 6, 8]
    assert levels(12, guided) == 3  # two rows for each picture
    timed = lab.host.CSGGuider(model, lab.edit_types.Base("source", None, control(lab.source), 3.5))
    assert levels(1e9, timed) == 1
    model.set_model_attn2_patch(lambda *tensors: tensors[:3])
    assert levels(1e9) == 1


@pytest.fixture
def split(lab):
    """The model on two devices, as MultiGPU CFG Split prepares it: here both are the CPU."""
    model = lab.model.clone()
    second = model.deepclone_multigpu(new_load_device=CPU_TOO)
    second.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [second])
    model.match_multigpu_clones()
    return model


def test_rows_on_two_devices_in_two_threads_give_the_same(lab, singles, split, monkeypatch):
    import comfy.model_base

    base, threads = comfy.model_base.BaseModel, set()
    apply = base._apply_model
    whole, masks = lab.edit(singles[0], lab.edits(count=3))
    monkeypatch.setattr(base, "_apply_model", lambda *a, **k: (threads.add(threading.get_ident()), apply(*a, **k))[1])
    edited, its_masks = lab.edit(singles[0], lab.edits(count=3), model=split)
    assert len(threads) == 2 and gap(edited, whole) < 2e-3
    assert (masks == its_masks).float().mean() > 0.99
    assert not hooks_of(split) and not hooks_of(split.get_additional_models_with_key("multigpu")[0])


def test_concepts_on_the_second_device_are_looked_at_there(lab, singles, split, monkeypatch):
    """With more concepts than the first device takes rows."""
    attention, edits, places = lab.comfy.module("csg.diffusion.attention"), lab.edits(count=5, scale=2.0), {}
    whole, masks = lab.edit(singles[0], edits)
    add = attention.AttentionCapture.add

    def noting(capture, key, found):
        places.setdefault(key, set()).add(threading.get_ident())
        add(capture, key, found)

    monkeypatch.setattr(attention.AttentionCapture, "add", noting)
    edited, its_masks = lab.edit(singles[0], edits, model=split)
    assert len(places) == 5 and all(len(threads) == 1 for threads in places.values())
    assert len(set.union(*places.values())) == 2, "only one device had concepts"
    assert gap(edited, whole) < 2e-3 and (masks == its_masks).float().mean() > 0.99


def test_rows_on_two_devices_share_a_controlnet(lab, split):
    inversion, _ = lab.invert(source=control(lab.source))
    whole, masks = lab.edit(inversion)
    edited, its_masks = lab.edit(inversion, model=split)
    assert gap(edited, whole) < 2e-3 and (masks == its_masks).float().mean() > 0.99


@pytest.fixture
def in_part(lab, monkeypatch, tmp_path):
    """The model with a LoRA, on a device with room for a third of its weights: the others are cast as they are used."""
    import comfy.model_management
    import comfy.sd
    from safetensors.torch import load_file

    def made():
        fresh = tiny_models.model()
        tiny_models.lora(fresh, tmp_path / "part.safetensors")
        return comfy.sd.load_lora_for_models(fresh, None, load_file(str(tmp_path / "part.safetensors")), 1.0, 0)[0]

    whole = lab.edit(inverted := lab.invert(source=lab.source)[0], model=made())
    loaded, part = comfy.model_management.LoadedModel, made()
    load = loaded.model_load
    monkeypatch.setattr(loaded, "model_load", lambda self, memory=0, **more: load(self, part.model_size() // 3, **more))
    return part, inverted, whole


def test_a_model_that_is_loaded_in_part_gives_the_same(lab, in_part):
    part, inversion, (whole, masks) = in_part
    edited, its_masks = lab.edit(inversion, model=part)
    assert part.model.model_lowvram and part.lowvram_patch_counter() > 0
    assert gap(edited, whole) < 2e-3 and (masks == its_masks).float().mean() > 0.99
    assert gap(edited, lab.edit(inversion)[0]) > 1e-3, "the LoRA had no effect"
    assert not hooks_of(part)


def test_a_run_reports_every_step_once_and_in_order(lab, singles, monkeypatch):
    seen = []

    def prepared(*_):
        return lambda step, x0, x, total: seen.append((step, total, tuple(x0.shape)))

    monkeypatch.setattr(lab.host.latent_preview, "prepare_callback", prepared)
    lab.edit(singles[0], lab.edits(warmup=0))
    assert seen == [(i, STEPS, (1, 4, 16, 16)) for i in range(STEPS)]


@pytest.mark.parametrize("method", ["Invert", "InvertDDPM", "InvertDDIM"])
def test_an_inversion_reports_its_progress_with_a_preview(lab, monkeypatch, method):
    seen = []

    def prepared(*_):
        return lambda step, x0, x, total: seen.append((step, total, tuple(x0.shape)))

    monkeypatch.setattr(lab.host.latent_preview, "prepare_callback", prepared)
    monkeypatch.setattr(lab.host, "levels_at_once", lambda *_: 1)
    arguments = {"Invert": (STEPS, 0.15, 3.5, 3, "authors", 0), "InvertDDPM": (STEPS, 0, 3.5, 3), "InvertDDIM": (STEPS, 1.0)}[method]
    with torch.inference_mode():
        getattr(lab.sample, method).execute(lab.model, tiny_models.latent(batch=2), *arguments, source=lab.source)
    total = STEPS - 1 if method == "InvertDDPM" else STEPS  # its last noise is zero, so nothing is asked there
    assert [step for step, *_ in seen] == list(range(total)) and {shape for *_, shape in seen} == {(2, 4, 16, 16)}
