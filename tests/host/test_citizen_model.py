"""What a run leaves behind: nothing. Not in the model, not after an interruption, not after an error."""

import gc
import random
import threading

import pytest
import torch

from tests.host import tiny_models
from tests.host.tiny_lab import gap, hooks_of, state_of

PLACES = 20


def test_the_capture_leaves_the_predictions_as_they_are_to_the_bit(lab, inversion):
    captured, bare = lab.predictions(inversion, "intersect"), lab.predictions(inversion, "none")
    assert list(captured) == ["positive", "negative", "concept 0", "concept 1", "concept 2"]
    assert captured.keys() == bare.keys() and all(torch.equal(captured[row], bare[row]) for row in bare)


@pytest.mark.parametrize("mask", ["intersect", "attention", "noise", "none"])
def test_the_model_that_came_in_is_as_it_was(lab, inversion, mask):
    before = state_of(lab.model)
    first, second = lab.edit(inversion, mask=mask)[0], lab.edit(inversion, mask=mask)[0]
    assert torch.equal(first, second) and state_of(lab.model) == before
    assert before["hooks"] == set()


def test_a_patched_model_is_a_clone_and_the_original_is_as_it_was(lab):
    before = state_of(lab.model)
    patched = lab.compose.ApplyToModel.execute(lab.model, lab.edits(), "intersect").result[0]
    assert patched is not lab.model and patched.wrappers and state_of(lab.model) == before


def test_a_guider_serves_many_runs(lab, inversion):
    guider = lab.guider(inversion)
    first = lab.replay(guider, inversion)
    assert torch.equal(first, lab.replay(guider, inversion))


def test_inputs_are_not_changed(lab, inversion):
    edits, kept = lab.edits(), [t.clone() for t in (inversion.path, inversion.noises, inversion.denoised, inversion.sigmas)]
    texts = [term.conditioning[0][0].clone() for term in edits.terms]
    lab.edit(inversion, edits, preserve="blend", release=0.5)
    assert all(torch.equal(a, b) for a, b in zip(kept, (inversion.path, inversion.noises, inversion.denoised, inversion.sigmas)))
    assert all(torch.equal(term.conditioning[0][0], text) for term, text in zip(edits.terms, texts))
    assert all(set(term.conditioning[0][1]) == {"pooled_output"} for term in edits.terms)


class Watched:
    """Counts the attention layers that a run goes through, and interrupts it at one of them, in one of two ways.

    `layer`: their class, where it is not that of UNets.
    """

    def __init__(self, patch, at=None, politely=False, layer=None):
        import comfy.ldm.modules.attention
        import comfy.model_management

        self.count, layer = 0, layer or comfy.ldm.modules.attention.CrossAttention
        forward = layer.forward

        def counting(module, *arguments, **options):
            self.count += 1
            if self.count - 1 == at and politely:  # the button, which the next operation notices
                comfy.model_management.interrupt_current_processing(True)
            elif self.count - 1 == at:
                raise comfy.model_management.InterruptProcessingException
            return forward(module, *arguments, **options)

        patch.setattr(layer, "forward", counting)


def interrupted(run, at, politely, layer=None):
    """Run until it is interrupted at the `at`-th attention layer."""
    import comfy.model_management

    with pytest.MonkeyPatch.context() as patch:
        Watched(patch, at, politely, layer)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run()


def places(run, count, layer=None):
    """`count` places to interrupt a run at, every other one by the button."""
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch, layer=layer)
        run()
    chosen = random.Random(0).sample(range(watched.count), count)
    return [(at, k % 2 == 0) for k, at in enumerate(chosen)]


def test_an_edit_interrupted_anywhere_leaves_nothing_and_the_next_run_is_the_same(lab, inversion):
    guider = lab.guider(inversion)
    expected, before = lab.replay(guider, inversion), state_of(lab.model)
    for at, politely in places(lambda: lab.replay(guider, inversion), PLACES):
        interrupted(lambda: lab.replay(guider, inversion), at, politely)
        assert not hooks_of(lab.model)
        assert state_of(lab.model) == before
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one).__name__ in ("AttentionCapture", "Run", "Acted")]
    assert torch.equal(lab.replay(guider, inversion), expected)
    assert torch.equal(lab.replay(lab.guider(inversion), inversion), expected)


def test_an_inversion_interrupted_anywhere_leaves_nothing(lab, inversion, monkeypatch):
    monkeypatch.setattr(lab.host, "levels_at_once", lambda *_: 1)
    expected, before = lab.invert(source=lab.source)[0], state_of(lab.model)
    for at, politely in places(lambda: lab.invert(source=lab.source), PLACES // 4):
        interrupted(lambda: lab.invert(source=lab.source), at, politely)
        assert state_of(lab.model) == before
    assert torch.equal(lab.invert(source=lab.source)[0].noises, expected.noises)


def test_a_stock_sampler_with_edits_interrupted_anywhere_leaves_nothing(lab):
    import nodes

    patched = lab.compose.ApplyToModel.execute(lab.model, lab.edits(), "intersect").result[0]
    empty = {"samples": torch.zeros(1, 4, 16, 16)}

    @torch.inference_mode()
    def run():
        return nodes.common_ksampler(patched, 1, 6, 3.0, "euler", "normal", lab.source, tiny_models.conditioning(1), empty)[0]["samples"]

    expected, before = run(), (state_of(patched), state_of(lab.model))
    for at, politely in places(run, PLACES // 4):
        interrupted(run, at, politely)
        assert (state_of(patched), state_of(lab.model)) == before
    assert torch.equal(run(), expected)


def test_an_error_in_the_network_leaves_nothing(lab, inversion):
    def fail(*_):
        raise RuntimeError("out of order")

    model, before = lab.model.clone(), state_of(lab.model)
    model.set_model_attn2_patch(fail)
    with pytest.raises(RuntimeError, match="out of order"):
        lab.edit(inversion, model=model)
    assert state_of(lab.model) == before


class WithoutHooks(torch.nn.Module):
    """Runs a network as a compiled one does: the layers that hooks are put on are not the ones that run."""

    def __init__(self, network, running):
        super().__init__()
        self.input_blocks, self.output_blocks, self.out = network.input_blocks, network.output_blocks, network.out
        self.dtype = network.dtype
        self.running = [running]

    def forward(self, *arguments, **options):
        return self.running[0](*arguments, **options)


def by_object_patch(model, network, monkeypatch):
    """As packs do that compile on their own."""
    model.add_object_patch("diffusion_model", network)


def by_core(model, network, monkeypatch):
    """ComfyUI's own compile node, over a compiler that is done in an instant."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    monkeypatch.setattr(torch, "compile", lambda **_: network)
    set_torch_compile_wrapper(model, backend="inductor")


@pytest.mark.parametrize("way", [by_object_patch, by_core])
def test_a_network_that_swallows_hooks_is_refused_in_words(lab, inversion, monkeypatch, way):
    model = lab.model.clone()
    way(model, WithoutHooks(lab.model.model.diffusion_model, tiny_models.model().model.diffusion_model), monkeypatch)
    with pytest.raises(RuntimeError, match="'phrase 0', 'phrase 1'.*[Cc]ompile.*mask = noise"):
        lab.edit(inversion, model=model)
    assert lab.edit(inversion, model=model, mask="noise")[0].isfinite().all()
    assert not hooks_of(model) and not hooks_of(lab.model)


def test_rows_rearranged_inside_the_attention_are_refused_in_words(lab, inversion, monkeypatch):
    def couple(*tensors):
        *tensors, _ = tensors
        coarse = tensors[0].shape[1] == 4 * 4  # where the masks are made; the layers before must get through
        return tuple(t.repeat(2, 1, 1)[:-1] for t in tensors) if coarse else tuple(tensors)

    model = lab.model.clone()
    model.set_model_attn2_patch(couple)
    monkeypatch.setattr(lab.replaying, "patch_print", lambda _: "")  # the steps before the first guided one would fail by themselves
    with pytest.raises(RuntimeError, match="rearranges the batch.*mask = noise"):
        lab.edit(inversion, model=model)
    assert not hooks_of(lab.model)


def test_maps_taken_in_several_threads_are_those_taken_in_one(lab):
    """As under MultiGPU CFG Split: one capture, a network and a thread per device."""
    attention = lab.comfy.module("csg.diffusion.attention")
    words = {f"row {k}": attention.Words((1, 2), 77) for k in range(6)}
    networks = [tiny_models.model().model.diffusion_model for _ in range(2)]
    texts = [tiny_models.conditioning(20 + k)[0][0] for k in range(6)]
    x, y = tiny_models.latent()["samples"], torch.zeros(1, tiny_models.POOLED + 6 * 256)

    @torch.inference_mode()
    def evaluate(capture, network, keys):
        for key in keys:
            with capture.rows([key]):
                network(x, torch.tensor([500.0]), context=texts[int(key[-1])], y=y)

    alone, together = (attention.AttentionCapture(attention.cells_of(16, 16), words) for _ in range(2))
    with alone.hooked(networks):
        evaluate(alone, networks[0], words)
    with together.hooked(networks):
        shares = [[f"row {2 * n + k}" for n in range(3)] for k in range(2)]
        threads = [threading.Thread(target=evaluate, args=(together, *pair)) for pair in zip(networks, shares)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert together.maps().keys() == alone.maps().keys() == words.keys()
    assert all(gap(together.maps()[key], alone.maps()[key]) < 1e-6 for key in words)
