"""The benchmark of vision-language models: what is asked, which words are the same, and known errors that must come out as figures."""

import json
import sys
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
import town_vlm
import town_vlm_models
import town_vlm_names as names
import town_vlm_report as reports
from town_expected import TRUE_EDGES
from town_vlm_questions import FIRST_SCENE, GIVEN, PICTURE, TORN, Scores, read_target, scenes, statements, structure

from csg.causal.graph import CausalGraph, Concept, Edge
from csg.evaluation.runner.study import VLM
from csg.town import world
from csg.vlm import server as server_module
from csg.vlm.protocol import VLMError
from tests.unit.town.scripted_vlm import Scripted
from tests.unit.vlm.chat_server import ChatServer

COUNT = 12


@pytest.fixture(autouse=True, scope="module")
def as_before():
    """The program hides xgrammar from the process; these tests must not, whatever runs after them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "xgrammar", sys.modules.get("xgrammar"))
        patch.setattr(server_module, "FIRST_PAUSE_S", 0.01)
        yield


def run(folder, server, model):
    """One run against a scripted server; returns the exit code and what it left."""
    where = ["--output", str(folder), "--page", str(folder / "page.md")]
    code = town_vlm.main(["--vlm", server.url(), "--vlm-model", model, "--scenes", str(COUNT), *where])
    path = folder / f"{model.replace(':', '-')}.json"
    return code, json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A flawed model and a perfect one, asked by the same program: their folder, and what was found."""
    folder, found = tmp_path_factory.mktemp("vlm"), {}
    for model, settings in {"flawed:8b": {}, "perfect": {"flawed": False, "obeys": True}}.items():
        with ChatServer(Scripted(COUNT, **settings)) as server:
            code, found[model] = run(folder, server, model)
            assert code == 0
    return folder, found["flawed:8b"], found["perfect"]


# ------------------------------------------------------------------------------------------ the figures


def means(found):
    return {name: figure[0] for name, figure in found["figures"].items()}


FLAWS = {
    "valid JSON": 1.0,
    "concepts named": 11 / 12,
    "concepts that Town does not have": 1.0,
    "value: weather": 0.75,
    "value: headlights": 0.0,
    "value: time": 1.0,
    "value: lamp": 1.0,
    "values read": (11 - 0.25) / 12,
    "values read, of the concepts named": 10.75 / 11,
    f"edge precision, {PICTURE}": 6 / 8,
    f"edge recall, {PICTURE}": 6 / 10,
    f"edge F1, {PICTURE}": 2 * 0.75 * 0.6 / 1.35,
    f"structural Hamming distance, {PICTURE}": 4.0,
    f"edges turned round, {PICTURE}": 2 / 8,
    f"edges proposed, {PICTURE}": 1.0,
    f"proposed edges that are true, {PICTURE}": 0.0,
    f"edge precision, {GIVEN}": 7 / 9,
    f"edge recall, {GIVEN}": 7 / 10,
    f"edge F1, {GIVEN}": 14 / 19,
    f"structural Hamming distance, {GIVEN}": 3.0,
    f"edges turned round, {GIVEN}": 2 / 9,
    f"edges proposed, {GIVEN}": 1.0,
    f"proposed edges that are true, {GIVEN}": 1.0,
    "target of an intervention": 2 / 3,
    "propagation exact, true graph": 1.0,
    "propagation per descendant, true graph": 1.0,
    f"as the graph says, {TORN}": 0.0,
    f"as the world would, {TORN}": 1.0,
    "false positives": 1.0,
    "false negatives": 0.0,
    "three usable suggestions": 0.0,
}


@pytest.mark.parametrize(("measure", "mean"), FLAWS.items())
def test_known_errors_come_out_as_the_figures(two, measure, mean):
    assert means(two[1])[measure] == pytest.approx(mean, abs=1e-4)


def test_a_model_that_says_yes_to_everything_is_right_where_the_statement_is_true(two):
    true = [value == scene.values[name] for scene in scenes(COUNT) for name, value in scene.asked.items()]
    assert means(two[1])["yes/no"] == pytest.approx(np.mean(true), abs=1e-4)


def test_a_perfect_model_has_perfect_figures(two):
    zero = {"false positives", "false negatives", "concepts that Town does not have", "edited graph, answered as the world would",
            f"as the world would, {TORN}"}  # fmt: skip
    none = ("structural Hamming distance", "edges turned round", "edges proposed")
    zero |= {f"{what}, {how}" for what in none for how in (PICTURE, GIVEN)}
    assert zero <= set(means(two[2])) and {n: mean for n, mean in means(two[2]).items() if mean != (n not in zero)} == {}


def test_words_that_only_a_model_trained_on_town_can_know_are_not_counted_against_another(two):
    assert not set(reports.WORDING) & set(two[1]["figures"]) and not two[1]["shipped"]


TORN_ONES = sum(TORN in scene.graphs for scene in scenes(COUNT))


def test_answers_are_counted_with_their_seconds_and_tokens(two):
    costs = two[1]["answers"]
    assert {part: cost["asked"] for part, cost in costs.items()} == {
        "extraction": COUNT, "edges": COUNT, "target": COUNT, "propagation": 2 * COUNT + TORN_ONES, "judgement": 12 * COUNT,
        "suggestion": 2 * COUNT // 4,  # what cannot be used is asked for once more
    }  # fmt: skip
    assert costs["judgement"]["median tokens"] == 2  # the pieces in which the server writes {"answer": "yes"}
    assert all(0 < cost["median s"] <= cost["longest s"] for cost in costs.values())


# ---------------------------------------------------------------------------------- runs and pages


def test_a_run_that_was_ended_goes_on_and_asks_nothing_twice(two, tmp_path):
    folder, flawed, _ = two
    lines = (folder / "flawed-8b.jsonl").read_text().splitlines(keepends=True)
    with ChatServer(Scripted(COUNT)) as server:
        first = json.loads(lines[0])["setup"]
        assert run(tmp_path, server, "flawed:8b")[0] == 0  # another address is another setup
        mine = (tmp_path / "flawed-8b.jsonl").read_text().splitlines(keepends=True)
        assert len(mine) == len(lines) and json.loads(mine[0])["setup"] != first
        (tmp_path / "flawed-8b.jsonl").write_text("".join(mine[:-3]))
        server.requests.clear()
        code, again = run(tmp_path, server, "flawed:8b")
        lost = [json.loads(line)["part"] for line in mine[-3:]]
        assert code == 0 and again["figures"] == flawed["figures"] and lost == ["propagation", "judgement", "suggestion"]
        assert len(server.requests) == 1 + 3 + 12 + 2  # the first wakes it
        server.requests.clear()
        assert run(tmp_path, server, "flawed:8b")[0] == 0 and server.requests == []


def test_the_page_compares_models_by_rows_and_two_by_two(two):
    folder, flawed, _ = two
    text = (folder / "page.md").read_text()
    assert text == reports.page(folder)
    for title in (*reports.COLUMNS, "What an answer costs", "Two by two"):
        assert f"## {title}" in text
    assert "| flawed-8b | 12 | 1.00 [0.76, 1.00] | 0.92 [0.92, 0.92] |" in text and "/good/v1" not in text
    row = next(line for line in text.splitlines() if line.startswith("| flawed-8b - perfect | 12 |")).split(" | ")[2:]
    gaps = dict(zip(reports.COMPARED, row, strict=True))
    assert gaps["false positives"] == "1.00 [1.00, 1.00]" and gaps["valid JSON"] == "0.00 [0.00, 0.00]"
    assert gaps[f"structural Hamming distance, {GIVEN}"] == "3.00 [3.00, 3.00]"


def test_other_prompts_than_todays_are_marked(two, monkeypatch):
    monkeypatch.setattr(reports, "fingerprint", lambda: "another")
    assert "| perfect (other prompts) | 12 |" in reports.page(two[0])


def test_the_shipped_page_is_what_its_runs_make():
    assert reports.PAGE.read_text(encoding="utf-8") == reports.page()
    assert "town-vlm" in [run["model"] for run in reports.runs()]


def test_a_runs_table_is_what_its_figures_make():
    for found in reports.runs():
        assert (reports.FOLDER / f"{found['model']}.md").read_text(encoding="utf-8") == reports.report(found)


def test_the_shipped_model_reaches_its_floors_and_a_missed_one_is_named():
    (found,) = (run for run in reports.runs() if run["shipped"])
    assert reports.missed(found["figures"]) == []
    lower = found["figures"] | {"yes/no": [0.5, 0.4, 0.6, 10], "value: car": [0.8, 0.7, 0.9, 10]}
    assert reports.missed(lower) == ["value accuracy, lowest concept", "yes/no"]
    assert "missed: value accuracy, lowest concept, yes/no." in reports.report(found | {"figures": lower})


@pytest.mark.parametrize(
    ("words", "complaint"),
    [(["--vlm", "qwen"], "expected an address"), (["--vlm", "llm:no-such-folder"], "no model folder 'no-such-folder'"),
     (["--vlm", "clip:no-such-file.safetensors"], "no ComfyUI at"),
     (["--vlm", "http://127.0.0.1:9/v1"], "No server answers")],
)  # fmt: skip
def test_a_model_that_cannot_be_asked_is_said_to_be_so(tmp_path, capsys, monkeypatch, words, complaint):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert town_vlm.main([*words, "--scenes", "1", "--output", str(tmp_path)]) == 1
    assert complaint in capsys.readouterr().err


def test_a_server_is_called_by_its_model_and_a_folder_by_its_own_name():
    assert town_vlm_models.called(VLM("server", "http://127.0.0.1:1/v1", "qwen3-vl:8b")) == "qwen3-vl-8b"
    assert town_vlm_models.called(VLM("llm", "somewhere/Qwen3 VL")) == "Qwen3-VL"
    assert town_vlm_models.called(VLM("clip", "qwen.safetensors")) == "qwen"


def test_a_key_goes_to_https_alone_and_only_to_the_host_it_is_for(monkeypatch):
    def key_of(url):
        return town_vlm_models.opened(VLM("server", url, "m"), torch.device("cpu")).vlm["api_key"]

    monkeypatch.setattr(town_vlm_models, "ServerVLM", lambda url, model, **options: options)
    monkeypatch.setenv("CSG_VLM_KEY", "sesame")
    assert key_of("http://models.example/v1") is None
    assert key_of("https://models.example:8443/v1") == "sesame"
    monkeypatch.setenv("CSG_VLM_HOSTS", "other.example=CSG_VLM_KEY")
    with pytest.raises(VLMError, match=r"is for other\.example"):
        key_of("https://models.example/v1")


# ------------------------------------------------------------------------------- words and structure


def test_no_word_means_two_things():
    for one, other in combinations(world.NAMES, 2):
        assert not {one, *names.OTHER_NAMES[one]} & {other, *names.OTHER_NAMES[other]}
    for name in world.NAMES:
        listed = names.OTHER_VALUES.get(name, {})
        assert set(listed) <= set(world.BY_NAME[name].domain)
        words = {value: {value, *listed.get(value, ())} for value in world.BY_NAME[name].domain}
        assert not [pair for pair in combinations(words.values(), 2) if pair[0] & pair[1]]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("season", "season"), ("Time-of-Day", "time"), ("street_lamp", "lamp"), ("streetlight", "lamp"), ("snow man", "snowman"),
     ("mood", None), ("cars", None), ("", None), ("season of the year", None)],
)  # fmt: skip
def test_a_name_means_what_is_listed_and_nothing_else(name, meant):
    assert names.concept_meant(name) == meant


@pytest.mark.parametrize(
    ("town", "value", "phrase", "meant"),
    [("weather", "Sunny", "", "sunny"), ("weather", "clear", "a blue sky", "sunny"), ("weather", "b", "rainy weather", "rainy"),
     ("weather", "overcast", "grey sky", None), ("car", "absent", "", "none"), ("lamp", "lit", "", "on"), ("season", "fall", "", "autumn"),
     ("house", "red house", "", "red"), ("house", "green", "house painted green", None)],
)  # fmt: skip
def test_a_value_means_what_is_listed_and_nothing_else(town, value, phrase, meant):
    assert names.value_meant(town, Concept("anything", value, {value: phrase})) == meant


def test_of_two_names_for_one_concept_the_first_counts_and_edges_of_strangers_are_not_judged():
    concepts = [Concept(name, "x", {"x": ""}) for name in ("tree", "leaves", "season", "mood")]
    edges = [Edge("season", "tree"), Edge("season", "leaves"), Edge("season", "mood"), Edge("mood", "tree", status="proposed")]
    graph = CausalGraph("", tuple(concepts), tuple(edges))
    assert names.concepts_meant(graph) == {"tree": "foliage", "season": "season"}
    assert names.values_meant(graph) == {"foliage": None, "season": None}
    assert names.edges_meant(graph, "confirmed") == {("season", "foliage")} and names.edges_meant(graph, "proposed") == set()


def structured(confirmed, proposed=()):
    scores = Scores()
    structure(scores, "x", confirmed, proposed)
    return {name.removesuffix(", x"): tuple(pair) for name, pair in scores.sums.items()}


def test_a_graph_without_edges_has_no_precision_and_is_as_far_as_all_edges():
    found = structured([])
    assert found["edge precision"] == (0, 0) and found["edge recall"] == (0, 10) and found["structural Hamming distance"] == (10, 1)


def test_an_edge_turned_round_costs_one_and_a_foreign_one_too():
    turned = structured([*TRUE_EDGES[1:], TRUE_EDGES[0][::-1]])
    assert turned["structural Hamming distance"] == (1, 1) and turned["edges turned round"] == (1, 10)
    foreign = structured([*TRUE_EDGES, ("house", "car")], [("car", "house")])
    assert foreign["structural Hamming distance"] == (1, 1) and foreign["edge precision"] == (10, 11)
    assert foreign["proposed edges that are true"] == (0, 1)


@pytest.mark.parametrize(
    ("text", "meant"),
    [('{"concept": "street lamp"}', "lamp"), ("weather", "weather"), ('{"concept": "mood"}', None), ("I cannot tell", None)],
)
def test_a_target_is_read_from_json_or_from_a_word(text, meant):
    assert read_target(text).value == meant and read_target(text).complete == (meant is not None)


# ------------------------------------------------------------------------------------- intervals


def test_intervals_are_wilsons_for_single_trials_and_never_of_no_width_for_a_share():
    known = reports.interval("valid JSON", [[1, 1]] * 8 + [[0, 1]] * 2 + [None])
    assert (known.mean, known.count) == (0.8, 10) and (round(known.low, 3), round(known.high, 3)) == (0.49, 0.943)
    sure = reports.interval("edge recall", [[10, 10]] * 20)
    assert (sure.mean, sure.high, round(sure.low, 3)) == (1, 1, 0.839)


def test_other_intervals_draw_whole_scenes():
    by_scene = reports.interval("values read", [[12, 12]] * 10 + [[0, 12]] * 10)
    assert by_scene.mean == 0.5 and by_scene.count == 240 and by_scene.low < 0.32 and by_scene.high > 0.68
    distance = reports.interval("structural Hamming distance, x", [[3, 1]] * 5)
    assert (distance.mean, distance.low, distance.high) == (3, 3, 3)
    assert reports.interval("values read", [None, [0, 0]]).count == 0


# --------------------------------------------------------------------------------------- the questions


def test_statements_ask_after_every_concept_and_half_of_them_are_true():
    values, rng = world.factual(1), np.random.default_rng(0)
    asked = [statements(values, rng) for _ in range(20)]
    assert all(set(each) == set(world.NAMES) for each in asked)
    true = [each[name] == values[name] for each in asked for name in world.NAMES]
    assert 0.35 < np.mean(true) < 0.65


def test_an_intervention_is_the_only_cause_of_what_differs_between_its_pictures():
    graph = nx.DiGraph(TRUE_EDGES)
    graph.add_nodes_from(world.NAMES)
    for scene in scenes(6):
        (target,) = scene.do
        after = world.evaluate(world.exogenous(scene.number), scene.do)
        differ = {name for name in world.NAMES if after[name] != scene.values[name]}
        assert target in differ and differ <= {target, *nx.descendants(graph, target)}
        assert scene.number >= FIRST_SCENE and (scene.image != scene.after).any()
