"""What other packs see of the concepts' rows: 0 and 1 wherever they look, and every row under its own name."""

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_citizen_company import first
from tests.host.tiny_lab import gap, hooks_of

BATCH = ["positive", "negative", "concept 0", "concept 1", "concept 2"]


def wrapped(model, call):
    """The model with a model function wrapper."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(call)
    return clone


@pytest.fixture
def taken_up(lab, monkeypatch):
    """Edits begin at the first guided step even where the model has patches that the inversion's had not: rounding is compared."""
    monkeypatch.setattr(lab.replaying, "patch_print", lambda _: "")


def guided(lab, inversion, model, mask="intersect"):
    """Three concepts' edit and masks."""
    return lab.edit(inversion, lab.edits(count=3), model=model, mask=mask)


@pytest.mark.usefixtures("taken_up")
def test_a_model_function_wrapper_finds_only_positive_and_negative_rows(lab, inversion):
    seen = []

    def call(apply_model, given):
        rows = given["cond_or_uncond"]
        assert rows == given["c"]["transformer_options"]["cond_or_uncond"] and len(rows) == len(given["input"])
        seen.append([("cond", "uncond")[i] for i in rows])  # fails at more than two kinds of rows
        rows.clear()  # its own list, not the host's
        return apply_model(given["input"], given["timestep"], **given["c"])

    edited, masks = guided(lab, inversion, wrapped(lab.model, call))
    expected, its_masks = guided(lab, inversion, lab.model)
    assert torch.equal(edited, expected) and torch.equal(masks, its_masks)
    assert seen[-1] == ["cond", "uncond", "cond", "cond", "cond"]


@pytest.mark.usefixtures("taken_up")
def test_other_wrappers_of_the_model_find_the_same(lab, inversion):
    import comfy.patcher_extension

    seen, clone = [], lab.model.clone()

    def call(executor, *arguments, **options):
        seen.append([("cond", "uncond")[i] for i in arguments[5]["cond_or_uncond"]])
        return executor(*arguments, **options)

    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "somebody", call)
    assert torch.equal(guided(lab, inversion, clone)[0], guided(lab, inversion, lab.model)[0])
    assert seen[-1] == ["cond", "uncond", "cond", "cond", "cond"]


def one_by_one(apply_model, given):
    """Evaluates every row by itself, and says so."""
    c, rows, out = given["c"], given["cond_or_uncond"], []
    for k, row in enumerate(rows):
        options = c["transformer_options"] | {"cond_or_uncond": [row]}
        own = {name: value[k : k + 1] if torch.is_tensor(value) else value for name, value in c.items()}
        out.append(apply_model(given["input"][k : k + 1], given["timestep"][k : k + 1], **own | {"transformer_options": options}))
    return torch.cat(out)


def test_a_wrapper_that_takes_the_rows_apart_changes_no_mask(lab, inversion):
    whole, masks = guided(lab, inversion, lab.model)
    apart, its_masks = guided(lab, inversion, wrapped(lab.model, one_by_one))
    assert gap(apart, whole) < 2e-3 and (masks == its_masks).float().mean() > 0.99


def halves(apply_model, given):
    """Evaluates the two halves of a picture by themselves, as tiling nodes do."""
    x, width = given["input"], given["input"].shape[-1] // 2
    return torch.cat([apply_model(part, given["timestep"], **given["c"]) for part in x.split(width, -1)], -1)


def fewer_rows(apply_model, given):
    """Evaluates rows apart without saying which."""
    c = given["c"]
    parts = [{name: value[k : k + 1] if torch.is_tensor(value) else value for name, value in c.items()} for k in range(len(given["input"]))]
    return torch.cat([apply_model(x[None], t[None], **own) for x, t, own in zip(given["input"], given["timestep"], parts)])


@pytest.mark.parametrize("call", [halves, fewer_rows])
def test_a_wrapper_that_cuts_the_rows_is_refused_in_words_unless_no_attention_is_needed(lab, inversion, call):
    with pytest.raises(RuntimeError, match="'phrase 0'.*tiling.*mask = noise"):
        guided(lab, inversion, wrapped(lab.model, call))
    assert not hooks_of(lab.model)
    assert guided(lab, inversion, wrapped(lab.model, call), "noise")[0].isfinite().all()


def test_a_controlnet_with_a_weight_for_each_kind_of_row_weighs_concepts_as_positive(lab):
    """As advanced ControlNets do: another strength for the negative rows."""
    import comfy.controlnet
    import nodes

    seen = []

    class Advanced(comfy.controlnet.ControlNet):
        def copy(self):
            made = Advanced(None, load_device=self.load_device)
            made.control_model, made.control_model_wrapped = self.control_model, self.control_model_wrapped
            self.copy_to(made)
            return made

        def get_control(self, x, t, cond, batched_number, options):
            rows = options["cond_or_uncond"]
            weights = [("cond", "uncond")[i] for i in rows]  # fails at more than two kinds of rows
            assert len(x) == batched_number == len(rows) and cond["transformer_options"]["cond_or_uncond"] == rows
            seen.append(weights)
            return super().get_control(x, t, cond, batched_number, options)

    plain = tiny_models.controlnet()
    advanced = Advanced(plain.control_model, load_device=tiny_models.CPU)
    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    edited = []
    for control in (plain, advanced):
        source = nodes.ControlNetApply().apply_controlnet(lab.source, control, hint, 1.0)[0]
        edited.append(guided(lab, lab.invert(source=source)[0], lab.model)[0])
    assert seen[-1] == ["cond", "uncond", "cond", "cond", "cond"], "all rows share one call"
    assert torch.equal(*edited)


def attention_of_the_negative(model):
    from comfy_extras.nodes_sag import SelfAttentionGuidance

    return first(SelfAttentionGuidance.execute(model, 0.5, 2.0))


def negative_in_the_attention(model):
    from comfy_extras.nodes_nag import NAGuidance

    return first(NAGuidance.execute(model, 5.0, 0.5, 1.5))


@pytest.mark.usefixtures("taken_up")
def test_guidance_in_the_attention_takes_the_base_and_not_a_concept(lab, inversion):
    """NAG changes the first positive row of a batch: that is the base's."""
    plain, changed = (lab.predictions(inversion, "intersect", m) for m in (lab.model, negative_in_the_attention(lab.model)))
    assert gap(plain["positive"], changed["positive"]) > 1e-3
    assert all(torch.equal(plain[row], changed[row]) for row in plain if row != "positive")


def test_self_attention_guidance_sees_the_negative_row(lab, inversion):
    model = attention_of_the_negative(lab.model)
    plain, changed = guided(lab, inversion, lab.model)[0], guided(lab, inversion, model)[0]
    assert changed.isfinite().all() and gap(plain, changed) > 1e-3 and not hooks_of(lab.model)


def test_a_caching_node_that_skips_the_network_is_refused_in_words(lab, inversion):
    from comfy_extras.nodes_easycache import EasyCacheNode

    model = first(EasyCacheNode.execute(lab.model, 3.0, 0.0, 1.0, False))
    with pytest.raises(RuntimeError, match="'phrase 0'.*EasyCache.*mask = noise"):
        guided(lab, inversion, model)
    assert not hooks_of(lab.model)
    assert guided(lab, inversion, model, "noise")[0].isfinite().all()


def test_rows_are_given_in_the_order_that_others_expect(lab, inversion):
    """ComfyUI turns the order of a call's conditionings round; the base is to come first."""
    seen, rows = [], lab.comfy.module("nodes.host_rows")

    def call(apply_model, given):
        seen.append([str(row.key) for row in given["cond_or_uncond"] if isinstance(row, rows.Row)])
        return apply_model(given["input"], given["timestep"], **given["c"])

    guided(lab, inversion, wrapped(lab.model, call))
    assert seen[-1] == BATCH
