"""Capture of cross-attention on a small network with SDXL's layer names."""

import gc
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from csg.diffusion import attention
from csg.diffusion import guidance as csg
from csg.diffusion.attention import AttentionCapture, Words, cells_of, cross_attentions, word_attention

HEADS, WIDTH, CONTEXT = 2, 8, 6


class CrossAttention(nn.Module):
    heads = HEADS

    def __init__(self):
        super().__init__()
        self.to_q, self.to_k = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(CONTEXT, WIDTH, bias=False)

    def forward(self, x, context):
        q, k = self.to_q(x), self.to_k(context)
        return x + torch.softmax(q @ k.transpose(1, 2), -1) @ k


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        block = nn.Module()
        block.attn1, block.attn2 = CrossAttention(), CrossAttention()
        self.transformer_blocks = nn.ModuleList([block])


class Network(nn.Module):
    """Down, middle and up blocks at 4 x 6 cells, and a down block at 8 x 12; beside them layers without attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Identity()]), nn.ModuleList([nn.Identity(), Transformer()]),
                                           nn.ModuleList([Transformer()])])  # fmt: skip
        self.middle_block = nn.ModuleList([Transformer()])
        self.output_blocks = nn.ModuleList([nn.ModuleList([Transformer(), nn.Identity()])])
        layers = (self.input_blocks[1][1], self.input_blocks[2][0], self.middle_block[0], self.output_blocks[0][0])
        self.layers = dict(zip(("fine", "down", "middle", "up"), (one.transformer_blocks[0].attn2 for one in layers)))

    def forward(self, x, fine, context):
        fine = self.layers["fine"](fine, context)
        x = self.layers["down"](x, context)
        x = self.layers["middle"](x, context)
        return self.layers["up"](x, context), fine


@pytest.fixture
def network():
    return Network().requires_grad_(False)


def inputs(rows, tokens=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((rows, 24, WIDTH), (rows, 96, WIDTH), (rows, tokens, CONTEXT))]


def chosen(*columns, rows=2, tokens=5):
    """Word columns as `word_attention` takes them, the same for every row."""
    return torch.stack([torch.isin(torch.arange(tokens), torch.tensor(columns)).float()] * rows)


def probabilities(layer, x, context):
    """(rows, heads, cells, tokens), head by head."""
    q, k, d = layer.to_q(x), layer.to_k(context), WIDTH // HEADS
    heads = [torch.softmax(q[..., h * d : h * d + d] @ k[..., h * d : h * d + d].transpose(1, 2) / d**0.5, -1) for h in range(HEADS)]
    return torch.stack(heads, 1)


def test_only_cross_attention_of_down_and_up_blocks_counts(network):
    assert list(cross_attentions(network)) == [network.layers[name] for name in ("fine", "down", "up")]


def test_word_attention_is_summed_over_words_and_averaged_over_heads(network):
    layer, (x, _, context) = network.layers["down"], inputs(2)
    found = word_attention(layer.to_q(x), layer.to_k(context), HEADS, chosen(1, 3))
    expected = probabilities(layer, x, context)[..., [1, 3]].sum(-1).mean(1)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(word_attention(layer.to_q(x), layer.to_k(context), HEADS, chosen(*range(5))), torch.ones(2, 24))


def test_half_precision_is_reduced_in_full(network):
    q, k = torch.randn(1, 24, WIDTH).half(), 30 * torch.randn(1, 5, WIDTH).half()
    words = chosen(1, rows=1)
    assert torch.equal(word_attention(q, k, HEADS, words), word_attention(q.float(), k.float(), HEADS, words))


def test_columns_of_a_repeated_conditioning_are_all_its_copies():
    assert Words((1, 2), 77).columns(77).nonzero().flatten().tolist() == [1, 2]
    assert Words((1, 2), 77).columns(231).nonzero().flatten().tolist() == [1, 2, 78, 79, 155, 156]


def test_repeated_tokens_give_the_map_of_the_short_conditioning(network):
    layer, (x, _, context) = network.layers["down"], inputs(1)
    words, q = Words((1, 3), 5), layer.to_q(x)
    short = word_attention(q, layer.to_k(context), HEADS, words.columns(5)[None])
    long = word_attention(q, layer.to_k(context.repeat(1, 3, 1)), HEADS, words.columns(15)[None])
    assert torch.allclose(short, long, atol=1e-6)


@pytest.mark.parametrize(("size", "cells"), [((128, 128), (32, 32)), ((16, 24), (4, 6)), ((98, 130), (25, 33)), ((5, 7), (2, 2))])
def test_cells_are_the_latent_halved_twice(size, cells):
    once = nn.functional.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, 3, 3), stride=2, padding=1)
    twice = nn.functional.conv2d(once, torch.zeros(1, 1, 3, 3), stride=2, padding=1)
    assert cells_of(*size) == cells == tuple(twice.shape[-2:])


def test_maps_are_the_mean_over_the_layers_at_their_resolution(network):
    x, fine, context = inputs(4)  # two conditionings, two pictures each, conditioning by conditioning
    capture = AttentionCapture((4, 6), {"a": Words((1, 2), 5)})
    with capture.hooked([network]), capture.rows(["b", "a"]):
        network(x, fine, context)
    rows = slice(2, 4)
    x, context = x[rows], context[rows]
    down, middle, up = (network.layers[name] for name in ("down", "middle", "up"))
    first = probabilities(down, x, context)
    last = probabilities(up, middle(down(x, context), context), context)
    expected = torch.stack([p[..., 1:3].sum(-1).mean(1) for p in (first, last)]).mean(0).view(2, 4, 6)
    maps = capture.maps()
    assert set(maps) == {"a"} and torch.allclose(maps["a"], expected, atol=1e-6)


def test_conditionings_may_come_in_several_calls(network):
    x, fine, context = inputs(2)
    words = {"a": Words((1,), 5), "b": Words((2,), 5)}
    together, apart = AttentionCapture((4, 6), words), AttentionCapture((4, 6), words)
    with together.hooked([network]), together.rows(["a", "b"]):
        network(x, fine, context)
    for n, key in enumerate("ab"):
        with apart.hooked([network]), apart.rows([key]):
            network(x[n : n + 1], fine[n : n + 1], context[n : n + 1])
    for key in words:
        assert torch.allclose(together.maps()[key], apart.maps()[key], atol=1e-6)


def test_several_phrases_are_read_from_one_row(network):
    """Words that name a row are looked for there, each phrase for itself."""
    x, fine, context = inputs(1)
    words = {"a": Words((1, 2), 5, "whole"), "b": Words((3,), 5, "whole"), "alone": Words((1, 2), 5)}
    capture, alone = AttentionCapture((4, 6), words), AttentionCapture((4, 6), {"b": Words((3,), 5)})
    with capture.hooked([network]), capture.rows(["whole", "alone"]):
        network(*(torch.cat([part, part]) for part in (x, fine, context)))
    with alone.hooked([network]), alone.rows(["b"]):
        network(x, fine, context)
    maps = capture.maps()
    assert torch.allclose(maps["a"], maps["alone"], atol=1e-6) and torch.allclose(maps["b"], alone.maps()["b"], atol=1e-6)
    assert not torch.allclose(maps["a"], maps["b"], atol=1e-3)


def test_maps_do_not_depend_on_how_many_scores_fit_at_once(network, monkeypatch):
    words = {key: Words((n,), 5) for n, key in enumerate("abc", 1)}
    found = []
    for at_once in (1, attention.SCORES_AT_ONCE):
        monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
        capture = AttentionCapture((4, 6), words)
        with capture.hooked([network]), capture.rows(["-", "b", "a", "c"]):
            network(*inputs(8))
        found.append(capture.maps())
    assert found[0].keys() == set("abc") and all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in words)
    assert not torch.allclose(found[0]["a"], found[0]["b"], atol=1e-3)


class Work(TorchDispatchMode):
    """Notes the name of every operation."""

    def __init__(self):
        super().__init__()
        self.operations = set()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        self.operations.add(operation.overloadpacket.__name__)
        return operation(*arguments, **options or {})


def test_a_step_waits_for_nothing_on_the_device(network):
    """No value is fetched from it, and no list of numbers is sent there: either would wait for all work before."""
    x, fine, context = inputs(2)
    base, concept = (torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    terms, capture = [csg.ConceptTerm("c", "c")], AttentionCapture((4, 6), {"a": Words((1, 2), 5)})
    mean = csg.MaskMean(1)
    with Work() as work:
        with capture.hooked([network]), capture.rows(["b", "a"]):
            network(x, fine, context)
        said = csg.Predictions(base, base, {0: concept}, attention={0: capture.maps()["a"]})
        guided = csg.guide(terms, [0], said, csg.GuidanceSettings())
        mean.add(guided.masks)
        csg.soft_edge(guided.union())
    waiting = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "lift_fresh", "lift", "masked_select"}
    assert {"_softmax", "convolution", "max_pool2d_with_indices"} <= work.operations and not waiting & work.operations


def test_what_is_kept_of_the_attention_is_one_number_per_cell(network):
    def followed(layer, given, made):
        queries.append(weakref.ref(made))

    def held():
        storages = [one.untyped_storage() for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
        return sum({one.data_ptr(): one.nbytes() for one in storages}.values())

    queries, capture = [], AttentionCapture((4, 6), {"a": Words((1, 2), 5), "b": Words((3,), 5)})
    network.layers["up"].to_q.register_forward_hook(followed)
    before = held()
    with capture.hooked([network]), capture.rows(["b", "a"]):
        network(*inputs(2))
    assert held() - before == 4 * (2 * 24 + 2 * 5)  # and the columns of the words
    assert capture.maps().keys() == {"a", "b"} and len(queries) == 1 and queries[0]() is None


def test_the_output_is_bit_identical_and_hooks_go_whatever_happens(network):
    arguments, capture = inputs(2), AttentionCapture((4, 6), {"a": Words((1,), 5)})
    plain = network(*arguments)
    with capture.hooked([network]), capture.rows(["a", "b"]):
        assert all(torch.equal(a, b) for a, b in zip(network(*arguments), plain))
    with pytest.raises(KeyboardInterrupt), capture.hooked([network]):
        raise KeyboardInterrupt
    assert not any(m._forward_hooks for m in network.modules())


def test_calls_outside_of_announced_rows_are_not_counted(network):
    capture = AttentionCapture((4, 6), {"a": Words((1,), 5)})
    with capture.hooked([network]):
        network(*inputs(1))
        assert capture.maps() == {}
        with capture.rows(["a"]):
            pass
        network(*inputs(1))
    assert capture.maps() == {}


def test_a_batch_that_another_patch_rearranged_is_refused_with_what_to_do(network):
    capture = AttentionCapture((4, 6), {"a": Words((1,), 5)})
    with pytest.raises(RuntimeError, match="saw 3 rows for 2 conditionings.*mask = noise"), \
            capture.hooked([network]), capture.rows(["a", "b"]):  # fmt: skip
        network(*inputs(3))


def test_devices_may_work_in_threads(network):
    """Two networks, as ComfyUI's multi-GPU split clones them, each called in a thread of its own."""
    twin = Network().requires_grad_(False)
    words = {n: Words((1,), 5) for n in range(8)}
    capture, alone = AttentionCapture((4, 6), words), AttentionCapture((4, 6), words)
    barrier = threading.Barrier(2)

    def work(unet, keys):
        barrier.wait()
        for key in keys:
            with capture.rows([key]):
                unet(*inputs(1, seed=key))

    with capture.hooked([network, twin]):
        threads = [threading.Thread(target=work, args=pair) for pair in ((network, range(0, 8, 2)), (twin, range(1, 8, 2)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with alone.hooked([network]):
        for key in words:
            with alone.rows([key]):
                network(*inputs(1, seed=key))
    for key in words:
        assert torch.allclose(capture.maps()[key], alone.maps()[key], atol=1e-6)
