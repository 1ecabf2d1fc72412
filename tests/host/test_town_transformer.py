"""Town's transformer in the real ComfyUI: its training goes on where it stopped, and what it writes loads and draws."""

import dataclasses
import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import town as benchmark
import town_methods
import town_networks
import train_town_transformer as program
from town_training import batches, captions, data, transformer

from csg.town import weights, world
from csg.town.render import picture

SETTINGS = dataclasses.replace(transformer.Settings(), batch=2, rate=0.1)
SEEDS = range(1_400_000, 1_400_006)


@pytest.fixture(scope="module")
def town(comfy):
    return comfy.module("nodes.host_town")


@pytest.fixture(scope="module")
def lessons():
    """A few scenes with random latents; captions by ComfyUI's tokenizer."""
    from train_town import tokeniser

    scenes = [data.sample(seed, transformer.GRID) for seed in SEEDS]
    values = np.stack([data.encode(one) for _, one, _ in scenes])
    covers = np.stack([np.round(cover * 255) for *_, cover in scenes]).astype(np.uint8)
    latents = torch.randn(len(scenes), 4, 32, 32, generator=torch.Generator().manual_seed(3))
    return batches.Dataset(latents, values, covers, captions.Captioner(tokeniser(), SETTINGS.captions))


@contextmanager
def fresh_network():
    """A network of the training program and what records its attention; ComfyUI's own attention is put back afterwards."""
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmdit, "optimized_attention", mmdit.optimized_attention)
        torch.manual_seed(0)
        attention = transformer.RecordingAttention()
        yield program.network(attention), attention


@pytest.fixture(scope="module")
def trained(town, lessons, tmp_path_factory):
    """Trains a fresh network in sittings that end at these steps; the averaged weights."""
    folder, kept = tmp_path_factory.mktemp("training"), {}

    def train(*ends):
        for end in () if ends in kept else ends:
            settings, checkpoint = dataclasses.replace(SETTINGS, steps=end), folder / f"{'-'.join(map(str, ends))}.ckpt"
            with fresh_network() as (network, attention):
                made = transformer.train(network, program.shipped_text(town), attention, lessons, checkpoint, settings, torch.float32)
            kept[ends] = {name: weight.clone() for name, weight in made.items()}
        return kept[ends]

    return train


def test_a_training_goes_on_where_it_stopped(trained):
    at_once, resumed, shorter = trained(2), trained(1, 2), trained(1)
    assert at_once.keys() == resumed.keys()
    assert all(torch.equal(at_once[name], resumed[name]) for name in at_once)
    assert any(not torch.equal(at_once[name], shorter[name]) for name in at_once)


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """The file of a network that was trained for a few steps."""
    file = tmp_path_factory.mktemp("weights") / "transformer.safetensors"
    weights.save_transformer(trained(2), file, {"title": "a test"})
    return file


def test_the_file_is_at_most_20_megabytes(written):
    assert 1_000_000 < written.stat().st_size <= 20_000_000


@pytest.fixture
def model(town, written, monkeypatch):
    monkeypatch.setattr(town, "bf16_units", lambda: False)
    return town.load_transformer(written)


def test_comfyui_sees_a_flow_without_shift_on_the_unets_latents(comfy, town, model):
    from comfy.model_base import SD3

    space = comfy.module("nodes.host_space").space_of(model)
    assert type(model.model) is SD3 and space.kind == "rectified flow"
    assert model.model.model_sampling.percent_to_sigma(0.25) == pytest.approx(0.75)
    assert type(model.model.latent_format) is type(town.load_model().model.latent_format)


@torch.inference_mode()
def test_the_loaded_model_predicts_what_was_trained(town, lessons, trained, model):
    """The velocity as in training, through ComfyUI's classes; the file is in half precision."""
    context, pooled = program.shipped_text(town)(lessons.batch(2, np.random.default_rng(1)))
    x, s = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([0.3, 0.8])
    with fresh_network() as (network, _):
        network.load_state_dict(trained(2))
        velocity = network(x, s * 1000, context=context, y=pooled)
    got = model.model.apply_model(x, s, c_crossattn=context, y=pooled, transformer_options={})
    got = (x - got) / s[:, None, None, None]
    assert velocity.std() > 0.02 and (got - velocity).abs().amax() < 0.1 * velocity.std()


@torch.inference_mode()
def test_text_is_heard_as_in_training_an_empty_prompt_too(comfy, town):
    from train_town import tokeniser

    host, clip = comfy.module("nodes.host_words"), town.load_clip(town.TownClip)
    text, captioner = program.shipped_text(town), captions.Captioner(tokeniser(), captions.Mix(nothing=0, one=0, half=0, article=0))
    for values, prompt in ((world.factual(5), world.caption(world.factual(5))), (None, "")):
        captioner.names = lambda _, told=values: list(world.CAPTION_ORDER) if told else []
        one = captioner.draw(values or {}, np.random.default_rng(0))
        rows = {name: torch.tensor([getattr(one, name)]) for name in ("ids_l", "ids_g", "words")}
        context, pooled = text(batches.Batch(latents=None, tokens=None, regions=None, cover=None, **rows))
        (expected, more), = host.ClipText(clip).encode(prompt)
        assert torch.allclose(context, expected, atol=1e-5) and torch.allclose(pooled, more["pooled_output"], atol=1e-5)
        assert pooled.abs().amax() > 0.1


def test_stock_sampling_draws_by_the_prompt(comfy, town, model):
    import comfy.sample as stock

    host, clip, latent = comfy.module("nodes.host_words"), town.load_clip(town.TownClip), torch.zeros(1, 4, 32, 32)
    day, night, nothing = (host.ClipText(clip).encode(text) for text in ("day", "night", ""))
    noise = stock.prepare_noise(latent, 1)

    def draw(text):
        return stock.sample(model, noise, 2, 3.0, "euler", "normal", text, nothing, latent, seed=1, disable_pbar=True)

    drawn = [draw(text) for text in (day, night, day)]
    assert drawn[0].isfinite().all() and torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_a_file_of_another_network_is_refused_in_words(town, tmp_path):
    with pytest.raises(town.weights.MissingWeights, match=r"Town's transformer does not fit.*Install the pack again"):
        town.load_transformer(weights.CHECKPOINT)
    with pytest.raises(town.weights.MissingWeights, match=r"no\.safetensors is not in"):
        town.load_transformer(tmp_path / "no.safetensors")


def test_a_second_device_gets_the_same_weights(model):
    """MultiGPU CFG Split makes its copies by the model's own recipe."""
    second = model.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    name = "diffusion_model.final_layer.linear.weight"
    assert second.model is not model.model and torch.equal(second.model.state_dict()[name], model.model.state_dict()[name])


@pytest.fixture
def painter(comfy, written, monkeypatch, town):
    """The trained file as the benchmarks open it, inside this ComfyUI."""
    monkeypatch.setattr(town_networks, "pack_module", comfy.module)
    monkeypatch.setattr(town, "bf16_units", lambda: False)
    monkeypatch.setattr(town_networks.Transformer, "LEVELS", (0.5,))
    return town_networks.Transformer(written)


@torch.inference_mode()
def test_attention_is_measured_block_by_block_as_training_saw_it(painter, trained):
    phrases, latent = ["red house", "parked blue car"], torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(4))
    maps = painter.attention(latent, phrases, 9)
    assert list(maps) == ["block 0", "block 1", "block 2", "block 3"]
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(9 + 500))
    with fresh_network() as (network, attention):
        network.load_state_dict(trained(2))
        for phrase in phrases:
            (context, more), = painter.encode(phrase)  # fmt: skip
            network(0.5 * latent + 0.5 * noise, torch.tensor([500.0]), context=context, y=more["pooled_output"])
            for found, seen in zip(maps.values(), attention.take(), strict=True):
                words = seen[0, :, 1 : 1 + len(phrase.split())].sum(-1).view(16, 16)
                assert torch.allclose(torch.from_numpy(found[phrase]), words, rtol=0.02)


@torch.inference_mode()
def test_the_engine_replays_exactly_and_edits_only_inside_its_masks(comfy, painter):
    """The benchmark's own path from a causal graph to an edit; what no concept reached is the original, to the bit."""
    sample, edit = comfy.module("nodes.sample"), comfy.module("nodes.edit")
    before, formats = world.factual(11), comfy.module("csg.causal.formats")
    other = next(colour for colour in ("red", "blue") if colour != before["house"])
    graph = formats.read_json(json.dumps(world.graph_document(before))).do({"house": other})
    counterfactual = comfy.module("csg.causal.counterfactual").propagate(graph, {})
    latent = painter.vae.encode(torch.tensor(picture(11))[None].float() / 255)
    source, nothing = painter.encode(world.caption(before)), painter.encode("")
    _, replayed = sample.Invert.execute(painter.model, {"samples": latent}, 6, 0.0, 1.0, 3, "authors", 0, source, nothing).result
    assert (replayed["samples"] - latent).abs().amax() * 0.13025 < 1e-4
    inversion = sample.Invert.execute(painter.model, {"samples": latent}, 6, 0.0, 1.0, 3, "diffusers", 0, source, nothing).result[0]
    edits, positive, *_ = edit.EncodeEdits.execute(painter.clip, counterfactual, 1.0, 0.4, 0, "intervened + descendants", 1.0).result
    edited, masks = sample.Sampler.execute(
        painter.model, inversion, edits, "source", "attention", "blend", "captions", "both", 0.0, positive, "otsu").result[:2]  # fmt: skip
    reached = torch.nn.functional.max_pool2d((masks[:1, ::8, ::8] > 0).float(), 3, 1, 1).bool()[0]
    change = (edited["samples"] - latent)[0].abs().amax(0)
    assert 0.02 < reached.float().mean() < 0.98
    assert change[~reached].amax() == 0 and change[reached].amax() > 0.01


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--weights", "x.safetensors"], "goes with --network transformer"),
     (["--network", "transformer", "--weights", "gone.safetensors"], "there is no file gone.safetensors")],
)  # fmt: skip
def test_a_painter_without_its_weights_ends_the_benchmark_in_words(capsys, words, told):
    with pytest.raises(SystemExit):
        benchmark.arguments(words)
    assert told in capsys.readouterr().err


def test_each_painter_has_a_journal_and_pictures_of_its_own(written):
    unet, transformer = benchmark.arguments(["--quick"]), benchmark.arguments(["--network", "transformer", "--weights", str(written)])
    assert (unet.journal.name, transformer.journal.name) == ("town_quick.jsonl", "town_transformer.jsonl")
    assert set(transformer.methods) - set(unet.methods) == {"FlowEdit"} <= set(town_methods.BASELINES)
    assert benchmark.arguments(["--network", "transformer"]).weights == weights.TRANSFORMER
    assert unet.pictures != transformer.pictures and town_networks.digest(unet.weights) != town_networks.digest(transformer.weights)


def test_the_shipped_transformer_loads_beside_the_unet(comfy, town):
    """By the node's input, with the encoders that it was trained with; an old workflow, which has no such input, gets the UNet."""
    from comfy.model_base import SD3, SDXL

    node = comfy.module("nodes.town").LoadTown
    assert weights.TRANSFORMER.stat().st_size <= 20_000_000
    kinds = {network: node.execute(**given).result for network, given in (("transformer", {"network": "transformer"}), ("old", {}))}
    assert type(kinds["transformer"][0].model) is SD3 and type(kinds["old"][0].model) is SDXL
    empty = {network: clip.encode_from_tokens(clip.tokenize("")).abs().amax() for network, (_, clip, _) in kinds.items()}
    assert empty["transformer"] > 0.1 and empty["old"] == 0


@torch.inference_mode()
def test_the_shipped_transformer_draws_what_its_prompt_says(comfy, town):
    """Four captions of the world; most of their values are read in what it draws from noise."""
    import comfy.sample as stock

    from csg.town import readers

    model, clip, vae = comfy.module("nodes.town").LoadTown.execute(network="transformer").result
    right = []
    for seed in range(4):
        values, latent = world.factual(seed), torch.zeros(1, 4, 32, 32)
        text, nothing = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in (world.caption(values), ""))
        noise = stock.prepare_noise(latent, seed)
        drawn = stock.sample(model, noise, 12, 3.0, "euler", "simple", text, nothing, latent, seed=seed, disable_pbar=True)
        read, = readers.read_values((vae.decode(drawn) * 255).round().byte().numpy())  # fmt: skip
        right += [read[name] == value for name, value in values.items()]
    assert sum(right) / len(right) > 0.75
