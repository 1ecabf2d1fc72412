"""The demo's own arithmetic: which scenes, what is filled in, how figures are averaged."""

import io
import json

import demo
import pytest
from PIL import Image

from csg.causal.editor_text import edited
from csg.causal.formats import graph_from_data
from csg.evaluation.runner import prompts
from csg.town import world
from csg.town.world import factual, graph_document


def picture():
    out = io.BytesIO()
    Image.new("RGB", (256, 256), "red").save(out, "PNG")
    return out.getvalue()


def result(seed, intervention, effectiveness, excess):
    figures = {"effectiveness": effectiveness, "excess_error": excess, "untouched": 1.0, "reconstruction_error": 0.1,
               "seconds": 2.0}
    return demo.Result(demo.Edit(seed, intervention), dict.fromkeys(demo.PICTURES, picture()), figures, figures)


def test_every_intervention_changes_every_scene():
    seeds = demo.scenes(demo.INTERVENTIONS, 4)
    assert len(set(seeds)) == 4
    for seed in seeds:
        for text in demo.INTERVENTIONS:
            concept, value = text.split("=")
            assert world.factual(seed)[concept] != value


def test_consequences_are_the_worlds_own():
    edit = demo.Edit(demo.scenes(["weather=rainy"], 1)[0], "weather=rainy")
    after = world.counterfactual(edit.seed, edit.do)
    assert edit.consequences()["ground"] == after["ground"] == "wet"
    assert "weather" not in edit.consequences()


def test_the_workflow_is_filled_for_one_edit():
    template = prompts.read(demo.WORKFLOW)
    before = json.dumps(template)
    edit = demo.Edit(demo.scenes(["time=night"], 1)[0], "time=night")
    prompt = demo.filled(template, edit)
    nodes = prompts.ids(prompt)
    assert prompt[nodes["Factual scene"]]["inputs"]["seed"] == edit.seed
    graph, conflicts = edited(prompt[nodes["Causal graph"]]["inputs"]["graph_json"], graph_from_data(graph_document(factual(edit.seed))))
    assert (graph.interventions, graph.effects["windows"], conflicts) == ({"time": "night"}, "lit", [])
    for title in ("Score", "Exact counterfactual"):
        asked = prompt[nodes[title]]["inputs"]
        assert asked["do"] == "" and asked["counterfactual"] == [nodes["Propagate by hand"], 0]
    assert json.dumps(template) == before


def test_only_edits_change_between_prompts_of_a_scene():
    """So that ComfyUI inverts a scene once: nothing above the inversion depends on the intervention."""
    template = prompts.read(demo.WORKFLOW)
    one, other = (demo.filled(template, demo.Edit(20, text)) for text in ("time=night", "house=blue"))
    nodes, pending, seen = prompts.ids(one), [prompts.ids(one)["Invert"]], set()
    while pending:
        node = pending.pop()
        seen.add(node)
        pending += [value[0] for value in one[node]["inputs"].values() if isinstance(value, list)]
    assert nodes["Factual scene"] in seen
    assert all(one[node] == other[node] for node in seen)


def test_the_mean_leaves_out_what_cannot_be_measured():
    assert demo.mean([None, 1.0, float("nan"), 3.0]) == 2.0
    assert demo.mean([None]) is None


def test_the_report_averages_scenes_then_interventions(tmp_path):
    results = [result(1, "weather=rainy", 1.0, 0.5), result(2, "weather=rainy", 0.5, 1.5), result(1, "time=night", 0.25, None)]
    summary = demo.write(results, tmp_path)
    assert summary["interventions"]["weather=rainy"]["effectiveness"] == 0.75
    assert summary["interventions"]["time=night"]["excess_error"] is None
    assert summary["mean"]["effectiveness"] == 0.5
    assert summary["mean"]["excess_error"] == 1.0
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    assert {path.name for path in (tmp_path / "weather-rainy" / "scene-2").iterdir()} == {f"{n}.png" for n in demo.PICTURES}
    assert "do(time=night)" in demo.table(summary)


@pytest.mark.parametrize("done", [0, 2.5, 4])
def test_the_bar_is_never_longer_than_its_frame(done):
    out = io.StringIO()
    demo.ProgressBar(4, out, width=10).show(done, "x")
    assert out.getvalue().startswith("[") and out.getvalue().index("]") == 11


def test_the_sheet_has_a_row_per_scene_and_two_columns_per_intervention():
    page = demo.sheet([result(1, "a=b", 1, 1), result(2, "a=b", 1, 1), result(1, "c=d", 1, 1)], side=10, margin=20)
    assert page.size == (50, 40)
