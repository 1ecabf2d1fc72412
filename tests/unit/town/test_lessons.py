"""What the small model is taught: the product's own questions, replies that the product accepts, tokens, packing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from town_expected import TRUE_EDGES, most_probable
from town_training import dialogues, vlm, words

from csg.causal.counterfactual import propagate
from csg.evaluation.effectiveness import effectiveness
from csg.images import to_tensor
from csg.town import world
from csg.town.render import picture
from csg.vlm.extract import extract_concepts
from csg.vlm.manipulate import vlm_propagate
from csg.vlm.suggest import suggest_interventions

SEEDS = range(8)
GREY = to_tensor(Image.new("RGB", (64, 64)))


class Pupil:
    """A model that gives the taught replies one after the other and remembers what it was asked."""

    def __init__(self, *taught):
        self.replies, self.asked = [one.reply for one in taught], []

    def ask(self, question, progress=None):
        self.asked.append(question.prompt)
        return self.replies[len(self.asked) - 1]


@pytest.fixture(scope="module")
def tokenizer():
    return words.build()


def random_lessons():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        values = dialogues.any_values(rng)
        yield values, rng


def test_extraction_is_asked_and_read_as_the_product_does():
    for values, rng in random_lessons():
        most = int(rng.integers(1, 16))
        taught = dialogues.extraction(values, most, "the weather")
        pupil = Pupil(taught)
        found = extract_concepts(pupil, GREY, "the weather", max_concepts=most)
        assert pupil.asked == [taught.prompt] and not found.problems and not found.notes
        assert {c.name: c.value for c in found.graph.concepts} == {n: values[n] for n in dialogues.IMPORTANCE[:most]}
        if most >= 12:
            assert set(dialogues.links(found.graph)) == set(TRUE_EDGES)


def test_the_three_stages_make_the_same_graph():
    values = world.factual(5)
    taught = dialogues.staged(values)
    pupil = Pupil(*taught)
    found = extract_concepts(pupil, GREY, max_concepts=12, staged=True)
    assert pupil.asked == [one.prompt for one in taught] and not found.problems
    assert found.graph == extract_concepts(Pupil(dialogues.extraction(values)), GREY, max_concepts=12).graph


def test_propagation_under_edited_graphs_is_the_truth_that_the_product_keeps():
    for values, rng in random_lessons():
        graph = dialogues.intervened(dialogues.edited_graph(values, rng), rng)
        taught = dialogues.propagation(graph, values)
        pupil = Pupil(taught)
        found = vlm_propagate(pupil, GREY, graph)
        assert pupil.asked == [taught.prompt] and not found.notes
        wanted = most_probable(values, graph.interventions, dialogues.links(graph))
        assert {c.concept: c.counterfactual for c in found.changes} == {n: wanted[n] for n in graph.names}
        assert found.prompt == world.caption(wanted)


def test_values_settled_by_hand_stand_and_are_passed_on():
    wanted = {"season": "summer", "weather": "sunny", "snowman": "none"}
    values = next(v for v in map(world.factual, range(999)) if wanted.items() <= v.items())
    graph, by_hand = dialogues.town_graph(values).do({"season": "winter"}), {"weather": "snowy"}
    taught = dialogues.propagation(graph, values, by_hand)
    pupil = Pupil(taught)
    found = vlm_propagate(pupil, GREY, graph, by_hand)
    assert pupil.asked == [taught.prompt] and found["snowman"].counterfactual == "built"


def test_suggestions_are_usable_and_different():
    for values, rng in random_lessons():
        graph = dialogues.edited_graph(values, rng)
        taught = dialogues.suggestions(graph, values, 3, rng)
        pupil = Pupil(taught)
        found = suggest_interventions(pupil, GREY, graph)
        assert pupil.asked == [taught.prompt] and not found.notes
        assert len({tuple(one.graph.interventions) for one in found.counterfactuals}) == 3


def test_judgements_ask_what_effectiveness_asks():
    values = dict(world.factual(4)) | {"house": "red"}
    graph = dialogues.town_graph(values).do({"house": "blue"})
    taught = dialogues.judgement(values, "house", "blue")
    pupil = Pupil(taught)
    found = effectiveness(pupil, GREY, propagate(graph, {}))
    assert pupil.asked == [taught.prompt] and found.score == 0.0
    assert json.loads(dialogues.judgement(values, "house", "red").reply) == {"answer": "yes"}


def test_edited_graphs_differ_and_never_close_a_circle():
    graphs = [dialogues.edited_graph(values, rng) for values, rng in random_lessons()]  # CausalGraph refuses circles
    assert sum(set(dialogues.links(g)) != set(TRUE_EDGES) for g in graphs) >= 4


def test_any_text_survives_the_tokenizer(tokenizer):
    texts = ["a ‘quoted’ text, with 12 numbers,\n\tand Ümläute 🙂", '{"values": [{"concept": "moon", "reason": "x", "value": "full"}]}']
    for values, rng in random_lessons():
        texts += [text for row in dialogues.lesson(values, rng) for one in row for text in (one.prompt, one.reply)]
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_conversations_are_short_in_tokens(tokenizer):
    for values, rng in random_lessons():
        for row in dialogues.lesson(values, rng):
            for one in row:
                assert len(tokenizer(one.prompt)["input_ids"]) <= 140
                assert len(tokenizer(one.reply)["input_ids"]) <= 160


def test_packed_conversations_equal_separate_ones(tokenizer):
    model = vlm.network(tokenizer, vlm.Settings(layers=3, sight_layers=3)).eval()
    processor, packer, sight = vlm.processor(tokenizer), vlm.Packer(tokenizer), vlm.Sight(model.model.visual)
    shown = picture(3)
    lessons = ([one for row in dialogues.lesson(world.factual(3), np.random.default_rng(seed)) for one in row] for seed in range(30))
    taught = next(lesson for lesson in lessons if {one.sees for one in lesson} == {True, False})
    with torch.no_grad():
        seen = sight(vlm.patches(vlm.shrunk(shown[None])))
        (batch,) = packer([[taught]])
        packed = vlm.logits(model, seen, batch)
        for one in taught:
            alone = _alone(model, processor, tokenizer, one, shown)
            assert torch.allclose(packed[: len(alone)], alone, atol=1e-4)
            packed = packed[len(alone) :]
    assert not len(packed)


def test_patches_and_what_covers_them_are_in_the_same_order(tokenizer):
    model = vlm.network(tokenizer, vlm.Settings(layers=1, sight_layers=3))
    sight = vlm.Sight(model.model.visual)
    raster = np.arange(vlm.GRID**2, dtype=np.uint8).reshape(vlm.GRID, vlm.GRID)
    painted = np.repeat(np.kron(raster, np.ones((vlm.PATCH, vlm.PATCH), np.uint8))[None, ..., None], 3, -1)
    seen = ((vlm.patches(painted).mean(2) + 1) * 127.5).round().long()[0]
    assert torch.equal(seen, sight.order)


def _alone(model, processor, tokenizer, one, shown):
    """The logits of one conversation by transformers' own way, at the places before the reply's tokens."""
    content = [{"type": "image", "image": Image.fromarray(shown)}] if one.sees else []
    talk = [{"role": "user", "content": [*content, {"type": "text", "text": one.prompt}]}]
    inputs = processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt")
    reply = torch.tensor([[*tokenizer(one.reply)["input_ids"], tokenizer.eos_token_id]])
    asked = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], reply], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(reply)], 1)
    model.model.rope_deltas = None
    return model(**inputs).logits[0, asked - 1 : asked - 1 + reply.shape[1]]
