"""The graph nodes inside ComfyUI: what passes, what is refused and how, what reaches the page."""

import json
from pathlib import Path

import pytest
import torch

STREET = {
    "base_prompt": "sunny weather, dry ground",
    "concepts": [
        {"name": "weather", "value": "sunny", "values": {"sunny": "sunny weather", "rainy": "rain"}},
        {"name": "ground", "value": "dry", "values": {"dry": "dry ground", "wet": "wet ground"}, "position": [9, 9]},
    ],
    "edges": [{"cause": "weather", "effect": "ground"}],
}


def editor(text, **inputs):
    text = text if isinstance(text, str) else json.dumps(text)
    return {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": text, **inputs}}


def node(name, **inputs):
    return {"class_type": f"CSG_{name}", "inputs": inputs}


def path(values="ground = wet", concept="weather", value="rainy"):
    """A graph, an intervention, its propagation."""
    return {
        "1": editor(STREET),
        "2": node("Intervene", graph=["1", 0], concept=concept, value=value),
        "3": node("Propagate", graph=["2", 0], values=values),
    }


def test_the_path_by_hand(comfy):
    outcome = comfy.run(path(), outputs=["3"])
    counterfactual = outcome.value(3)
    assert [change.concept for change in counterfactual.changed] == ["weather", "ground"]
    assert counterfactual.prompt == "rain, wet ground"
    assert outcome.value(3, 1).startswith("do(weather = rainy)\n")


class ScriptedVLM:
    """Gives one answer and keeps how it was asked."""

    def ask(self, question, progress=None):
        self.asked = (len(question.images), question.temperature, question.max_tokens, question.seed)
        return json.dumps(
            {"values": [{"concept": "ground", "value": "wet", "reason": "rain"}], "prompt": "rain on a road"}
        )


@pytest.mark.parametrize(("values", "ground", "source"), [("", "wet", "vlm"), ("ground = dry", "dry", "by hand")])
def test_a_connected_vlm_proposes_what_the_hand_left_open(comfy, values, ground, source):
    graph = comfy.module("csg.causal.formats").read_json(json.dumps(STREET)).do({"weather": "rainy"})
    vlm, image = ScriptedVLM(), torch.zeros(1, 8, 8, 3)
    propagate = comfy.nodes.NODE_CLASS_MAPPINGS["CSG_Propagate"].execute
    counterfactual, report = propagate(graph, values, vlm, image, temperature=0.5, max_tokens=99, seed=7).args
    assert vlm.asked == (1, 0.5, 99, 7)
    assert (counterfactual["ground"].counterfactual, counterfactual["ground"].source) == (ground, source)
    assert source in report


def test_an_empty_value_holds_the_concept(comfy):
    prompt = path(concept=" weather ", value=" ")
    assert comfy.run(prompt, outputs=["2"]).value(2).interventions == {"weather": "sunny"}


def test_the_sample_is_a_graph_and_connects(comfy):
    default = comfy.nodes.NODE_CLASS_MAPPINGS["CSG_GraphEditor"].INPUT_TYPES()["required"]["graph_json"][1]["default"]
    assert comfy.run({"1": editor(default)}, outputs=["1"]).value(1).descendants(["time"]) == {"lamp", "windows"}
    connected = comfy.run({"1": editor(STREET), "2": editor(default, graph=["1", 0])}, outputs=["2"])
    assert connected.value(2) == comfy.run({"1": editor(STREET)}, outputs=["1"]).value(1)


def test_a_text_is_laid_over_the_connected_graph(comfy):
    over = {"concepts": [{"name": "ground", "value": "wet", "values": ["wet"]}], "edges": []}
    outcome = comfy.run({"1": editor(STREET), "2": editor(over, graph=["1", 0])}, outputs=["2"])
    graph = outcome.value(2)
    assert graph["ground"].value == "wet" and graph["ground"].position == (9, 9)
    assert graph.descendants(["weather"]) == {"ground"}
    assert {c["name"]: c["value"] for c in json.loads(outcome.value(2, 1))["concepts"]}["ground"] == "wet"


def test_the_resolved_graph_reaches_the_page_again_when_cached(comfy):
    comfy.forget()
    for _ in range(2):
        outcome = comfy.run({"1": editor(STREET)}, outputs=["1"])
        assert json.loads(outcome.ui["1"]["graph"][0])["base_prompt"] == STREET["base_prompt"]
    assert "1" in outcome.cached


def test_broken_text_is_refused_before_anything_runs(comfy):
    outcome = comfy.run({"1": editor('{"concepts": [\n  {"name": "a" "value": 1}]}')}, outputs=["1"])
    assert "line 2, column 16: this is not JSON" in outcome.errors["1"]


def test_a_cycle_is_refused_with_its_path(comfy):
    looped = {**STREET, "edges": [{"cause": "weather", "effect": "ground"}, {"cause": "ground", "effect": "weather"}]}
    assert "weather -> ground -> weather" in comfy.run({"1": editor(looped)}, outputs=["1"]).errors["1"]


def test_an_edge_with_which_only_the_merge_closes_a_cycle_is_left_out_and_named(comfy):
    back = {"concepts": STREET["concepts"], "edges": [{"cause": "ground", "effect": "weather"}]}
    outcome = comfy.run({"1": editor(STREET), "2": editor(back, graph=["1", 0])}, outputs=["2"])
    conflict, = outcome.ui["2"]["conflicts"]
    assert "not taken over, it would close a cycle with" in conflict and "ground" in conflict and "weather" in conflict
    assert len(outcome.value(2).edges) == 1


@pytest.mark.parametrize(
    ("prompt", "culprit", "message"),
    [
        ({"1": editor(" ")}, "1", "The graph is empty"),
        (path(concept="wether"), "2", "Did you mean 'weather'?"),
        (path(value="hail"), "2", "'hail' is not a value of concept 'weather'"),
        (path(values="\nwet"), "3", "line 2: expected `concept = value`, got 'wet'"),
        (path(values="ground = icy"), "3", "'icy' is not a value of concept 'ground'"),
        ({"3": node("GraphPreview")}, "3", "Nothing to draw: connect a graph or a counterfactual."),
    ],
)
def test_mistakes_are_named_at_their_node(comfy, prompt, culprit, message):
    outcome = comfy.run(prompt, outputs=[max(prompt)])
    assert outcome.errors.keys() == {culprit}
    assert message in outcome.errors[culprit]


@pytest.mark.parametrize("format", ["json", "dagitty", "dot"])
def test_saved_graphs_are_numbered_and_load_back(comfy, input_file, format):
    import folder_paths

    prompt = {"1": editor(STREET), "2": node("SaveGraph", graph=["1", 0], filename_prefix=f"a/{format}", format=format)}
    written = []
    for _ in range(2):
        comfy.forget()
        outcome = comfy.run(prompt)
        written += outcome.ui["2"]["files"]
    folder = Path(folder_paths.get_output_directory())
    texts = [(folder / name).read_text(encoding="utf-8") for name in written]
    assert [Path(name).stem for name in written] == [f"{format}_00001_", f"{format}_00002_"]
    assert texts[0] == texts[1] == outcome.ui["2"]["text"][0]
    name = input_file(f"street.{format}", texts[0])
    loaded = comfy.run({"1": node("LoadGraph", file=name, format="auto")}, outputs=["1"])
    assert loaded.value(1) == comfy.run({"1": editor(STREET)}, outputs=["1"]).value(1)


def test_a_source_of_a_graph_tells_the_page_its_graph(comfy, input_file):
    """Where no editor stands, the page offers the concepts and values of the last run."""
    source = node("LoadGraph", file=input_file("told.json", json.dumps(STREET)), format="auto")
    outcome = comfy.run({"1": source, "2": node("TownScene", seed=3, do="")}, outputs=["1", "2"])
    assert json.loads(outcome.ui["1"]["graph"][0])["concepts"][0]["name"] == outcome.value(1).concepts[0].name
    assert "weather" in outcome.ui["2"]["graph"][0]


def test_nothing_is_saved_outside_the_output_folder(comfy):
    prompt = {"1": editor(STREET), "2": node("SaveGraph", graph=["1", 0], filename_prefix="../../x", format="json")}
    assert "outside the output folder" in comfy.run(prompt).errors["2"]


def test_a_changed_file_is_read_again(comfy, input_file):
    prompt = {"1": node("LoadGraph", file=input_file("g.json", json.dumps(STREET)), format="auto")}
    assert comfy.run(prompt, outputs=["1"]).value(1).base_prompt == STREET["base_prompt"]
    input_file("g.json", json.dumps({**STREET, "base_prompt": "new"}))
    assert comfy.run(prompt, outputs=["1"]).value(1).base_prompt == "new"


def test_only_files_of_the_input_folder_are_offered(comfy, input_file, tmp_path):
    input_file("offered.dot", "digraph { a -> b }")
    input_file("picture.png", "no graph")
    (tmp_path / "secret.json").write_text(json.dumps(STREET))
    options = comfy.nodes.NODE_CLASS_MAPPINGS["CSG_LoadGraph"].INPUT_TYPES()["required"]["file"][1]["options"]
    assert "offered.dot" in options and "picture.png" not in options
    outcome = comfy.run({"1": node("LoadGraph", file=str(tmp_path / "secret.json"), format="auto")}, outputs=["1"])
    assert outcome.errors.keys() == {"1"}


def test_the_drawing_is_an_image_and_a_preview(comfy):
    outcome = comfy.run({**path(), "4": node("GraphPreview", graph=["1", 0], counterfactual=["3", 0])})
    image = outcome.value(4)
    assert image.ndim == 4 and image.shape[0] == 1 and image.shape[3] == 3
    assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.01
    assert outcome.ui["4"]["images"][0]["type"] == "temp"
    plain = comfy.run({"1": editor(STREET), "4": node("GraphPreview", graph=["1", 0])}).value(4)
    assert plain.shape != image.shape


@pytest.mark.parametrize("name", ["GraphEditor", "Intervene", "Questions", "Propagate", "LoadGraph", "SaveGraph", "GraphPreview"])
def test_every_part_explains_itself(comfy, name):
    schema = comfy.nodes.NODE_CLASS_MAPPINGS[f"CSG_{name}"].GET_SCHEMA()
    assert schema.category == "CSG/graph" and schema.description and schema.search_aliases
    assert all(part.tooltip for part in (*schema.inputs, *schema.outputs))


@pytest.mark.parametrize("name", ["GraphEditor", "Intervene", "Questions", "Propagate", "LoadGraph", "SaveGraph", "GraphPreview"])
def test_every_help_page_explains_every_input_and_output(comfy, name):
    schema = comfy.nodes.NODE_CLASS_MAPPINGS[f"CSG_{name}"].GET_SCHEMA()
    page = (Path(__file__).parents[2] / "web" / "docs" / f"CSG_{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    explained = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("|"))
    assert all(f"`{part.id}`" in explained for part in (*schema.inputs, *schema.outputs))
    assert "**When not to use it.**" in page and "## Example" in page


@pytest.mark.parametrize("name", ["GraphEditor", "LoadGraph"])
def test_the_graph_in_a_help_page_can_be_pasted(comfy, name):
    page = (Path(__file__).parents[2] / "web" / "docs" / f"CSG_{name}.md").read_text(encoding="utf-8")
    text = page.split("```")[1].partition("\n")[2]
    assert comfy.run({"1": editor(text)}, outputs=["1"]).value(1).descendants(["weather"]) == {"ground"}


def test_what_was_clicked_in_the_editor_comes_before_text_and_vlm(comfy):
    asked = {**STREET, "interventions": {"weather": "rainy"}, "effects": {"ground": "wet"}}
    prompt = {"1": editor(asked), "3": node("Propagate", graph=["1", 0], values="ground = dry")}
    outcome = comfy.run(prompt, outputs=["3"])
    assert outcome.value(3)["ground"].counterfactual == "wet"
    assert outcome.value(3, 1).splitlines()[:3] == [
        "do(weather = rainy)", "intervened: weather: sunny -> rainy, intervention", "descendant: ground: dry -> wet, by hand"]  # fmt: skip
    vlm = ScriptedVLM()
    graph = comfy.run({"1": editor({**asked, "effects": {"ground": "dry"}})}, outputs=["1"]).value(1)
    counterfactual, _ = comfy.nodes.NODE_CLASS_MAPPINGS["CSG_Propagate"].execute(graph, "", vlm).args
    assert (counterfactual["ground"].counterfactual, counterfactual["ground"].source) == ("dry", "by hand")


def test_several_questions_run_one_after_the_other(comfy):
    asked = "weather = rainy => ground = wet\nground = wet"
    prompt = {"1": editor(STREET), "2": node("Questions", graph=["1", 0], questions=asked)}
    prompt["3"] = node("Propagate", graph=["2", 0], values="")
    answers = comfy.run(prompt, outputs=["3"]).values["3"][0]
    assert [[(c.concept, c.counterfactual) for c in answer.changed] for answer in answers] == [
        [("weather", "rainy"), ("ground", "wet")], [("ground", "wet")]]  # fmt: skip


@pytest.mark.parametrize(("asked", "words"), [
    (node("Questions", graph=["1", 0], questions="weather"), "line 1: expected `concept = value`, got 'weather'"),
    (node("Questions", graph=["1", 0], questions=""), "There is no question"),
    (node("Propagate", graph=["1", 0], values="ground: wet"), "line 1: expected `concept = value`, got 'ground: wet'"),
    (node("Propagate", graph=["1", 0], values="ground = wet, weather = rainy"), "put `;` between them"),
    (node("Intervene", graph=["1", 0], concept=" ", value="rainy"), "Name the concept to set"),
    (node("TownScene", seed=3, do="wether = rainy"), "Town has no concept 'wether'"),
    (node("TownScene", seed=3, do="weather = hail"), "weather cannot be 'hail' in Town"),
])  # fmt: skip
def test_what_can_be_known_is_said_on_the_node_before_the_run(comfy, asked, words):
    outcome = comfy.run({"1": editor(STREET), "2": asked, "3": node("GraphPreview", graph=["1", 0])}, outputs=["2", "3"])
    assert list(outcome.errors) == ["2"] and words in outcome.errors["2"] and not outcome.events
