"""Word maps from joint attention against the explicit softmax, on attention calls of every form."""

import pytest
import torch

from csg.diffusion.attention import Words
from csg.diffusion.joint_attention import JointAttentionCapture, TextLayout
from csg.diffusion.layouts import LAYOUTS
from csg.diffusion.words import Column

HEADS, WIDTH, TEXT, CELLS = 2, 6, 5, (3, 4)
LENGTH = TEXT + CELLS[0] * CELLS[1]


def backend(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, skip_output_reshape=False, **_):
    """Attention as ComfyUI's backends take and give it."""
    q, k, v = (t if skip_reshape else t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    if mask is not None:
        mask = mask[None] if mask.ndim == 2 else mask
        mask = mask[:, None] if mask.ndim == 3 else mask
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    return out if skip_output_reshape else out.transpose(1, 2).flatten(2)


def inputs(batch, seed=0):
    return torch.randn(3, batch, HEADS, LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))


def expected(q, k, columns, mask=None):
    scores = q @ k.transpose(-1, -2) * WIDTH**-0.5 + (0 if mask is None else mask)
    return scores.softmax(-1)[:, :, TEXT:, columns].sum(-1).mean(1).unflatten(1, CELLS)


def captured(call, words, keys=("a",), layout=None, counts=(1,), times=1, **options):
    capture = JointAttentionCapture(layout or TextLayout(("blocks",)), counts, CELLS, words)
    with capture.rows(keys, (TEXT,)):
        for _ in range(times):
            capture.override()(*call, **options)
    return capture


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_flat_and_split_heads_alike(split, keep):
    q, k, v = inputs(2)
    given = (q, k, v) if split else (t.transpose(1, 2).flatten(2) for t in (q, k, v))
    capture = captured((backend, *given, HEADS), {"a": Words((1, 3), TEXT)}, skip_reshape=split, skip_output_reshape=keep)
    assert torch.allclose(capture.maps()["a"], expected(q, k, [1, 3]), atol=1e-6)


@pytest.mark.parametrize("shape", [(LENGTH, LENGTH), (1, LENGTH, LENGTH), (2, LENGTH, LENGTH), (2, 1, LENGTH, LENGTH), (2, 1, LENGTH)])
def test_the_models_own_mask_is_used(shape):
    q, k, v = inputs(2)
    mask = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * 3
    full = mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask
    words = {"a": Words((2,), TEXT, "x"), "b": Words((0,), TEXT, "y")}
    capture = captured((backend, q, k, v, HEADS, mask), words, ("x", "y"), skip_reshape=True)
    for n, (key, column) in enumerate((("a", 2), ("b", 0))):
        assert torch.allclose(capture.maps()[key], expected(q, k, [column], full)[n : n + 1], atol=1e-6)


def test_a_column_counts_by_its_weight():
    q, k, v = inputs(1)
    capture = captured((backend, q, k, v, HEADS), {"a": Words((Column(1), Column(3, 0.25)), TEXT)}, skip_reshape=True)
    weighted = expected(q, k, [1]) + 0.25 * expected(q, k, [3])
    assert torch.allclose(capture.maps()["a"], weighted, atol=1e-6)


def test_the_chosen_layers_are_read_and_averaged():
    q, k, v = inputs(1)
    layout = TextLayout(("blocks",), layers={(5,): (0, 4)})
    capture = captured((backend, q, k, v, HEADS), {"a": Words((1,), TEXT)}, layout=layout, counts=(5,), times=5, skip_reshape=True)
    assert capture.layers("a") == 2 and not capture.mismatch
    assert torch.allclose(capture.maps()["a"], expected(q, k, [1]), atol=1e-6)


@pytest.mark.parametrize(
    ("total", "middle"), [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2)), (4, (1, 2)), (8, (2, 3, 4, 5)), (57, tuple(range(14, 43)))]
)
def test_where_nothing_is_published_the_middle_half_is_read(total, middle):
    assert TextLayout(("blocks",)).chosen((total,)) == middle


def test_calls_of_another_length_are_none_of_the_text():
    q, k, v = inputs(1)
    capture = captured((backend, q[:, :, TEXT:], k[:, :, TEXT:], v[:, :, TEXT:], HEADS), {"a": Words((1,), TEXT)}, skip_reshape=True)
    assert not capture.layers("a") and "0 of 1 attention calls" in capture.mismatch and "12 x 12" in capture.mismatch


def test_a_missing_call_is_told():
    q, k, v = inputs(1)
    capture = captured((backend, q, k, v, HEADS), {"a": Words((1,), TEXT)}, counts=(3,), times=2, skip_reshape=True)
    assert "2 of 3 attention calls" in capture.mismatch


def test_a_batch_that_another_node_rearranged_is_refused():
    q, k, v = inputs(3)
    with pytest.raises(RuntimeError, match="saw 3 rows for 2 conditionings"):
        captured((backend, q, k, v, HEADS), {"a": Words((1,), TEXT)}, ("a", "b"), skip_reshape=True)


def test_nothing_is_read_outside_an_announced_call():
    q, k, v = inputs(1)
    capture = captured((backend, q, k, v, HEADS), {"a": Words((1,), TEXT)}, skip_reshape=True)
    capture.override()(backend, q, k, v, HEADS, skip_reshape=True)
    assert capture.layers("a") == 1


@pytest.mark.parametrize(("family", "blocks", "best"), [
    ("SD3", (24,), (4, 5, 7, 8, 9)), ("SD3", (38,), (16, 18, 20, 21, 24)),
    ("Flux", (19, 38), (11, 12, 14, 17, 18)), ("Flux2", (8, 24), (5, 6, 7)),
])  # fmt: skip
def test_published_networks_are_read_in_their_published_layers(family, blocks, best):
    assert LAYOUTS[family].chosen(blocks) == best


def test_networks_that_nobody_studied_are_read_in_their_middle_half():
    assert LAYOUTS["QwenImage"].chosen((60,)) == tuple(range(15, 45))
    assert LAYOUTS["Flux"].chosen((2, 2)) == (1, 2)
    assert all(layout.chosen((1,)) == (0,) for layout in LAYOUTS.values())
