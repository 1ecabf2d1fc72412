"""Words' attention in transformers, for every family: read exactly, in the right columns, the output left as it is."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_families

READ = ("SD3", "Flux", "FluxSchnell", "Flux2", "Chroma", "QwenImage", "Lumina2", "ZImage", "AuraFlow", "HiDream", "CosmosPredict2", "Wan")
TOKENS = 9


class Reader:
    """Evaluates conditionings once on a tiny model, with or without a capture of their words."""

    def __init__(self, comfy, family, size=(16, 16), **changes):
        self.looker, self.rows = comfy.module("nodes.host_looker"), comfy.module("nodes.host_rows")
        self.joint, self.words = comfy.module("csg.diffusion.joint_attention"), comfy.module("csg.diffusion.attention").Words
        self.family, self.size = family, size
        self.model = tiny_families.model(family, **changes)
        self.network = self.looker.network_of(self.model.model)
        self.latent = tiny_families.latent(family, *size)["samples"]
        self.text = tiny_families.conditioning(family, tokens=TOKENS)

    def capture(self, words, network=None):
        network = network or self.network
        return self.joint.JointAttentionCapture(network.layout, network.counts, network.layout.grid(*self.size), words)

    @torch.inference_mode()
    def evaluate(self, conds, capture=None, spy=None, latent=None):
        """Denoised latents by key from one call at one level."""
        import comfy.patcher_extension
        import comfy.samplers

        latent, found = self.latent if latent is None else latent, {}
        reader = self

        class Guider(comfy.samplers.CFGGuider):
            def predict_noise(self, x, timestep, model_options=None, seed=None):
                options = comfy.model_patcher.create_model_options_clone(model_options)
                keys = list(conds)
                shown = reader.rows.Rows(keys)
                options["model_function_wrapper"] = shown.model_function(None)
                if spy is not None:
                    options["transformer_options"]["optimized_attention_override"] = spy
                if capture is not None:
                    comfy.patcher_extension.add_wrapper_with_key(
                        comfy.patcher_extension.WrappersMP.APPLY_MODEL, "test",
                        reader.looker.announce_joint(shown, capture, x.shape), options, is_model_options=True)  # fmt: skip
                out = comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[key] for key in keys], x, timestep, options)
                found.update(zip(keys, out))
                return out[0]

        guider = Guider(self.model)
        guider.inner_set_conds(conds)
        sampler = comfy.samplers.KSAMPLER(lambda model, x, sigmas, extra_args, **_: model(x, sigmas[:1].expand(len(x)), **extra_args))
        guider.sample(torch.zeros_like(latent), latent, sampler, torch.tensor([0.6, 0.0]), disable_pbar=True)
        return found


class Spy:
    """Keeps the queries and keys, heads in their own axis, of every attention call that is as long as the layout says."""

    def __init__(self, reader):
        layout, cells = reader.network.layout, reader.network.layout.grid(*reader.size)
        lengths = (TOKENS if reader.family not in ("Flux2", "Anima") else 512, *([12] if reader.family == "HiDream" else []))
        self.keys = layout.text_tokens(lengths) + (0 if layout.separate else layout.picture_tokens(cells))
        self.queries = layout.picture_tokens(cells) if layout.separate else self.keys
        self.calls = []

    def __call__(self, attention, q, k, v, heads, *args, **kwargs):
        def split(t):
            return t if kwargs.get("skip_reshape") else t.unflatten(-1, (heads, -1)).transpose(1, 2)

        if (split(q).shape[2], split(k).shape[2]) == (self.queries, self.keys):
            self.calls.append((split(q).clone(), split(k).clone()))
        return attention(q, k, v, heads, *args, **kwargs)


def moved(a, b):
    """Which tokens differ most between two tensors (B, H, L, d)."""
    change = (a - b).abs().amax((0, 1, 3))
    return int(change.argmax()), change


@pytest.fixture(scope="module")
def readers(comfy):
    made = {}

    def make(family):
        if family not in made:
            made[family] = Reader(comfy, family)
        return made[family]

    return make


def changed_text(text, position):
    context, more = text[0]
    context = context.clone()
    context[:, position] += 3.0
    return [[context, more]]


@pytest.mark.parametrize("family", READ)
def test_a_nudged_word_moves_the_column_of_the_layout(readers, family):
    reader, position = readers(family), 3
    plain, nudged = Spy(reader), Spy(reader)
    reader.evaluate({"a": reader.text}, spy=plain)
    reader.evaluate({"a": changed_text(reader.text, position)}, spy=nudged)
    layout, cells = reader.network.layout, reader.network.layout.grid(*reader.size)
    column, _ = moved(plain.calls[0][1], nudged.calls[0][1])
    lengths = (512,) if family == "Flux2" else (TOKENS, 12)
    assert layout.columns(position, TOKENS, lengths, cells) == (column,)
    assert len(plain.calls) == sum(reader.network.counts)


def test_a_nudged_word_of_hidreams_second_text_stands_there_twice(readers):
    reader = readers("HiDream")
    plain, nudged = Spy(reader), Spy(reader)
    reader.evaluate({"a": reader.text}, spy=plain)
    context, more = reader.text[0]
    llama = more["conditioning_llama3"].clone()
    llama[:, :, 4] += 3.0
    reader.evaluate({"a": [[context, more | {"conditioning_llama3": llama}]]}, spy=nudged)
    change = moved(plain.calls[0][1], nudged.calls[0][1])[1]
    columns = reader.network.layout.columns(TOKENS + 4, TOKENS, (TOKENS, 12), (8, 8))
    assert sorted(change.topk(2).indices.tolist()) == sorted(columns)


def test_another_token_of_animas_t5_moves_its_own_column(comfy):
    """What its network attends to has T5's tokens, whatever Qwen makes of the text."""
    reader, plain, nudged = Reader(comfy, "Anima"), *(Spy(Reader(comfy, "Anima")) for _ in range(2))
    context, more = reader.text[0]
    ids = more["t5xxl_ids"].clone()
    ids[3] = 7
    reader.evaluate({"a": reader.text}, spy=plain)
    reader.evaluate({"a": [[context, more | {"t5xxl_ids": ids}]]}, spy=nudged)
    column, _ = moved(plain.calls[0][1], nudged.calls[0][1])
    assert reader.network.layout.columns(3, TOKENS, (512,), (8, 8)) == (column,)
    assert len(plain.calls) == sum(reader.network.counts)
    capture = reader.capture({"a": reader.words((3,), TOKENS)})
    assert torch.equal(reader.evaluate({"a": reader.text}, capture)["a"], reader.evaluate({"a": reader.text})["a"])
    assert not capture.mismatch and capture.maps()["a"].std() > 0


@pytest.mark.parametrize("family", READ)
def test_a_nudged_pixel_moves_the_row_of_the_layout(readers, family):
    reader, (y, x) = readers(family), (4, 7)
    plain, nudged = Spy(reader), Spy(reader)
    reader.evaluate({"a": reader.text}, spy=plain)
    other = reader.latent.clone()
    other[..., y, x] += 3.0
    reader.evaluate({"a": reader.text}, spy=nudged, latent=other)
    layout = reader.network.layout
    row, _ = moved(plain.calls[0][0], nudged.calls[0][0])
    lengths = (512,) if family == "Flux2" else (TOKENS, *([12] if family == "HiDream" else []))
    assert row == layout.picture_start(lengths) + (y // layout.patch) * layout.grid(*reader.size)[1] + x // layout.patch


@pytest.mark.parametrize("family", READ)
def test_the_map_is_the_exact_softmax_and_the_output_bit_equal(readers, family):
    reader, positions = readers(family), (2, 3, 5)
    spy = Spy(reader)
    plain = reader.evaluate({"a": reader.text}, spy=spy)
    capture = reader.capture({"a": reader.words(positions, TOKENS)})
    seen = reader.evaluate({"a": reader.text}, capture)
    assert torch.equal(plain["a"], seen["a"]) and not capture.mismatch
    layout, cells = reader.network.layout, reader.network.layout.grid(*reader.size)
    lengths = (512,) if family == "Flux2" else (TOKENS, *([12] if family == "HiDream" else []))
    start, columns = layout.picture_start(lengths), [c for p in positions for c in layout.columns(p, TOKENS, lengths, cells)]
    chosen = layout.chosen(reader.network.counts)
    expected = []
    for q, k in (spy.calls[i] for i in chosen):
        mass = ((q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-1, -2)).softmax(-1)
        expected.append(mass[:, :, start : start + cells[0] * cells[1], columns].sum(-1).mean(1))
    expected = torch.stack(expected).mean(0).unflatten(1, cells)
    assert capture.layers("a") == len(chosen) > 0
    assert torch.allclose(capture.maps()["a"], expected, rtol=1e-4, atol=1e-7) and expected.std() > 0


@pytest.mark.parametrize("family", ["SD3", "Flux2", "QwenImage", "AuraFlow", "HiDream"])
def test_a_wrong_layout_is_told(readers, family):
    reader = readers(family)
    wrong = replace(reader.network, layout=replace(reader.network.layout, registers=reader.network.layout.registers + 1))
    capture = reader.capture({"a": reader.words((2,), TOKENS)}, wrong)
    reader.evaluate({"a": reader.text}, capture)
    assert not capture.layers("a") and capture.mismatch.startswith("0 of ")


@pytest.mark.parametrize("family", READ)
def test_texts_of_different_length_are_read_in_their_own_calls(readers, family):
    """Rows are read as if each were alone, whether the host puts them into one call or into several."""
    reader = readers(family)
    more = {"conditioning_llama3": reader.text[0][1]["conditioning_llama3"]} if family == "HiDream" else {}
    others = (tiny_families.conditioning(family, seed, tokens, **more) for seed, tokens in ((1, TOKENS), (2, 14)))
    texts = dict(zip("abc", (reader.text, *others)))
    words = {"a": reader.words((2,), TOKENS), "c": reader.words((9, 10), 14), "inside a": reader.words((4, 5), TOKENS, "a")}
    together = reader.capture(words)
    reader.evaluate(texts, together)
    for key, row in (("a", "a"), ("c", "c"), ("inside a", "a")):
        alone = reader.capture({key: words[key]})
        reader.evaluate({row: texts[row]}, alone)
        assert torch.allclose(together.maps()[key], alone.maps()[key], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", ["SD3", "Flux", "ZImage", "HiDream"])
@pytest.mark.parametrize("size", [(15, 13), (8, 22)])
def test_odd_sizes_have_their_own_grid(comfy, family, size):
    reader = Reader(comfy, family, size)
    capture = reader.capture({"a": reader.words((3,), TOKENS)})
    reader.evaluate({"a": reader.text}, capture)
    assert capture.maps()["a"].shape == (1, -(-size[0] // 2), -(-size[1] // 2)) and not capture.mismatch


@pytest.mark.parametrize("family", ["Flux", "Flux2", "QwenImage"])
def test_reference_pictures_are_left_out_of_the_map(comfy, readers, family):
    reader = readers(family)
    reference = tiny_families.latent(family, 8, 12, seed=5)["samples"]
    text = tiny_families.conditioning(family, tokens=TOKENS, reference_latents=[reference])
    capture = reader.capture({"a": reader.words((3,), TOKENS)})
    plain, seen = reader.evaluate({"a": text}), reader.evaluate({"a": text}, capture)
    assert torch.equal(plain["a"], seen["a"]) and not capture.mismatch
    assert capture.maps()["a"].shape[1:] == reader.network.layout.grid(16, 16)


def test_an_override_that_was_there_is_kept_and_called(readers):
    reader, calls = readers("SD3"), []

    def louder(attention, q, k, v, *args, **kwargs):
        calls.append(1)
        return attention(q, k, v, *args, **kwargs) * 1.5

    capture = reader.capture({"a": reader.words((3,), TOKENS)})
    seen = reader.evaluate({"a": reader.text}, capture, spy=louder)
    count = len(calls)
    plain = reader.evaluate({"a": reader.text}, spy=louder)
    assert torch.equal(plain["a"], seen["a"]) and count == len(calls) / 2 > 0
    assert not torch.equal(plain["a"], reader.evaluate({"a": reader.text})["a"]) and capture.layers("a")


def test_more_words_than_a_head_has_channels(readers):
    """A head of the tiny network has 64; the words' maps add up to the text's share."""
    reader = readers("SD3")
    text = tiny_families.conditioning("SD3", tokens=100)
    words = {f"word {j}": reader.words((j,), 100, "a") for j in range(100)} | {"all": reader.words(tuple(range(100)), 100, "a")}
    capture = reader.capture(words)
    reader.evaluate({"a": text}, capture)
    maps = capture.maps()
    assert torch.allclose(sum(maps[f"word {j}"] for j in range(100)), maps["all"], rtol=1e-4)


def test_an_unknown_family_has_no_layout(comfy):
    model = tiny_families.model("SD3")
    model.model.__class__ = type("Unheard", (type(model.model),), {})
    assert comfy.module("nodes.host_looker").network_of(model.model) is None
