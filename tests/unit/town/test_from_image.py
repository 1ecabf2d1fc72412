"""The demo's part from the picture alone: what is filled in, and how a reply is measured."""

import json

import numpy as np
import pytest
import town_from_image as from_image
from town_expected import TRUE_EDGES, most_probable

from csg.evaluation.runner import prompts
from csg.evaluation.runner.comfy_client import Progress, Run
from csg.town import world
from csg.town.render import picture

SEED = 3
DO = {"weather": "snowy"}


@pytest.fixture
def template():
    return prompts.read(from_image.WORKFLOW)


def reply(**changed):
    values = world.factual(SEED)
    after = most_probable(values, DO)
    verdicts = {name: True for name in values if after[name] != values[name]}
    return from_image.Reply(**({"read": values, "edges": frozenset(TRUE_EDGES), "after": after, "verdicts": verdicts} | changed))


def test_nothing_but_scene_and_intervention_is_filled_in(template):
    prompt = from_image.filled(template, 7, {"car": "none"})
    differs = {entry["class_type"] for node, entry in prompt.items() if entry != template[node]}
    assert differs <= {"CSG_TownScene", "CSG_Intervene"}
    assert prompts.inputs(prompt, "Factual scene")["seed"] == 7
    assert prompts.inputs(prompt, "Intervention")["concept"] == "car"


def test_the_picture_alone_goes_into_the_workflow(template):
    """Of the scene only the picture is used: graph and caption come from the model."""
    scene = prompts.ids(template)["Factual scene"]
    used = {value[1] for entry in template.values() for value in entry["inputs"].values() if isinstance(value, list) and value[0] == scene}
    assert used == {0}
    (extract,), (follow,) = prompts.of_class(template, "CSG_ExtractConcepts"), prompts.of_class(template, "CSG_Propagate")
    assert extract["description"] == "" and follow["values"] == ""


def test_a_right_reply_has_full_marks_and_the_readers_look_for_themselves():
    done = from_image.figures(reply(), picture(SEED, DO), SEED, DO)
    assert done["values_right"] == done["graph_right"] == done["propagation_right"] == done["vlm_effectiveness"] == 1.0
    assert done["readers_effectiveness"] > 0.5
    undone = from_image.figures(reply(), picture(SEED), SEED, DO)
    assert undone["readers_effectiveness"] == 0.0 and undone["agreement"] == 0.0


def test_every_slip_costs():
    shown, values = picture(SEED, DO), world.factual(SEED)
    misread = dict(values) | {"house": next(v for v in world.BY_NAME["house"].domain if v != values["house"])}
    assert from_image.figures(reply(read=misread), shown, SEED, DO)["values_right"] == pytest.approx(11 / 12)
    assert from_image.figures(reply(edges=frozenset(TRUE_EDGES[1:])), shown, SEED, DO)["graph_right"] == 0.0
    after = most_probable(values, DO) | {"ground": values["ground"]}
    assert from_image.figures(reply(after=after), shown, SEED, DO)["propagation_right"] == 0.0
    assert from_image.figures(reply(read={}, edges=frozenset()), shown, SEED, DO)["values_right"] == 0.0


def test_what_the_nodes_have_shown_is_read(template):
    nodes = prompts.ids(template)
    graph = world.graph_document(world.factual(SEED))
    table = {"weather": {"counterfactual": "snowy"}}
    outputs = {
        nodes["Ask for the causal graph"]: {"graph": [json.dumps(graph)]},
        nodes["Let the VLM propagate"]: {"csg_counterfactual": [json.dumps(table)]},
        nodes["Does the VLM see it?"]: {"csg_effectiveness": [{"concept": "weather", "answer": False}]},
    }
    found = from_image.reply_of(template, Run("1", outputs, 1.0))
    assert found.read == world.factual(SEED) and found.edges == set(TRUE_EDGES)
    assert found.after == {"weather": "snowy"} and found.verdicts == {"weather": False}


def test_seconds_go_to_the_node_at_work(monkeypatch):
    now = iter([0.0, 1.0, 4.0])
    monkeypatch.setattr(from_image.time, "monotonic", lambda: next(now))
    told = []
    watch = from_image.Stopwatch(told.append)
    for node in ("4", "8"):
        watch(Progress(1, 3, node, 0.5))
    assert watch.seconds == {"": 1.0, "4": 3.0} and len(told) == 2


def test_the_summary_says_what_the_graph_figure_is_worth():
    scene = dict.fromkeys(from_image.SHARES, 1.0) | {"seconds": 2.0, "seconds_by_question": dict.fromkeys(from_image.QUESTIONS, 0.5)}
    found = from_image.summary([scene, scene | {"values_right": 0.5}])
    assert found["mean"]["values_right"] == 0.75 and np.isclose(found["slowest_reply_seconds"]["judge"], 0.5)
    assert "memorised, not discovered" in found["note"] and "memorised, not discovered" in from_image.table(found)
