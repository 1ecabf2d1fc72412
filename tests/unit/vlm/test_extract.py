"""The extractor: one question or three, one repair, and a graph whatever comes back."""
import json

import pytest
import torch

from csg.causal.formats import write_dagitty, write_json
from csg.vlm.extract import concepts_from_text, extract_concepts
from csg.vlm.prompting import PromptBook
from csg.vlm.protocol import VisionLanguageModel, VLMError
from csg.vlm.replies import INCOMPLETE, read_graph_reply
from csg.vlm.schemas import GraphReply, schema_of
from tests.unit.vlm.scripted import GOOD, ScriptedVLM

IMAGE = torch.rand(1, 64, 64, 3)


def test_one_question_by_default_with_the_papers_settings():
    vlm = ScriptedVLM(GOOD["street"])
    assert isinstance(vlm, VisionLanguageModel)
    found = extract_concepts(vlm, IMAGE, "my street, <b>ignore</b> $the rest", max_concepts=6, seed=7)
    (question,) = vlm.asked
    assert "my street, \u2039b\u203aignore" in question.prompt and "$the rest" in question.prompt
    assert "at most 6" in question.prompt and question.images[0].size == (64, 64)
    assert (question.temperature, question.max_tokens, question.seed) == (0.1, 2048, 7)
    assert question.schema == schema_of(GraphReply)
    assert found.graph.names[0] == "weather" and found.reply == GOOD["street"] and not found.problems
    assert found.report() == "Graph with 6 concepts, 3 edges."


def test_a_bad_reply_goes_back_once_with_its_errors():
    bad = GOOD["street"].replace('"base_prompt"', '"caption"')
    vlm = ScriptedVLM(bad, GOOD["street"])
    found = extract_concepts(vlm, IMAGE)
    assert not found.problems and found.reply == GOOD["street"]
    assert vlm.prompts[0] in vlm.prompts[1]
    assert "base_prompt: expected a sentence" in vlm.prompts[1] and "caption" in vlm.prompts[1]
    assert vlm.asked[1].temperature == 0


def test_after_a_second_failure_what_could_be_read_is_marked_incomplete():
    better = '{"concepts": [{"name": "weather", "value": "sunny"}], "edges": []}'
    found = extract_concepts(ScriptedVLM(better, "I am sorry."), IMAGE)
    assert found.graph.names == ("weather",) and found.reply == better
    assert found.graph.extra[INCOMPLETE] == list(found.problems)
    assert "Incomplete graph: 1 concepts, 0 edges." in found.report() and "base_prompt" in found.report()


def test_noise_twice_still_gives_a_graph_and_the_raw_reply():
    found = extract_concepts(ScriptedVLM("\u2581\u2581 qz", "zz \ufffd"), IMAGE)
    assert found.graph.names == () and found.reply == "zz \ufffd"


def test_three_stages_build_on_each_other():
    data = json.loads(GOOD["portrait"])
    vlm = ScriptedVLM(
        {"description": "A woman stands in a garden.", "base_prompt": data["base_prompt"]},
        {"concepts": data["concepts"]},
        {"edges": data["edges"]},
    )
    found = extract_concepts(vlm, IMAGE, "my sister", staged=True)
    assert found.graph == read_graph_reply(GOOD["portrait"]).value
    describe, concepts, edges = vlm.prompts
    assert all("my sister" in prompt for prompt in vlm.prompts) and "garden" not in describe
    assert "A woman stands" in concepts and data["base_prompt"] in concepts and '"hair colour"' in edges
    assert all(part in found.reply for part in ("A woman stands", '"age"', "one dresses"))


def test_a_failing_stage_leaves_the_others_standing():
    data = json.loads(GOOD["portrait"])
    vlm = ScriptedVLM("?", "??", {"concepts": data["concepts"]}, "no", "no edges")
    found = extract_concepts(vlm, IMAGE, staged=True)
    assert len(found.graph.concepts) == 6 and found.graph.edges == () and len(found.problems) == 2


def test_an_own_prompt_folder_is_used(tmp_path):
    (tmp_path / "extract.txt").write_text("MINE $description $max_concepts")
    vlm = ScriptedVLM(GOOD["street"])
    extract_concepts(vlm, IMAGE, book=PromptBook(tmp_path))
    assert vlm.prompts[0].startswith("MINE <data>")


@pytest.mark.parametrize("write", [write_json, write_dagitty])
def test_graphs_as_text_keep_everything(write):
    graph = read_graph_reply(GOOD["street"]).value.do({"weather": "rainy"})
    assert concepts_from_text(write(graph)).graph == graph


def test_any_reply_as_text():
    assert concepts_from_text(f"Sure:\n```json\n{GOOD['street']}\n```").graph.names[0] == "weather"
    assert concepts_from_text(GOOD["street"].replace("dry asphalt", "(dry:9) asphalt")).graph["ground"].phrase() == "dry:9 asphalt"
    assert concepts_from_text("nothing here").graph.extra[INCOMPLETE]


@pytest.mark.parametrize("text", ["dag { a -> b b -> a }", 'digraph {\n a [label="rain"]; a -> b; b -> a }'])
def test_a_drawn_graph_with_a_cycle_is_read_as_a_reply_with_one(text):
    found = concepts_from_text(text)
    assert [(str(edge), edge.status) for edge in found.graph.edges] == [("a -> b", "confirmed"), ("b -> a", "proposed")]
    assert found.notes == ("The edge b -> a would close a cycle; it becomes a proposal, without effect.",)
    assert list(found.problems) == found.graph.extra[INCOMPLETE] == ["base_prompt: expected a sentence, got nothing."]


def test_a_broken_drawn_graph_is_told_by_its_line_and_prose_before_json_is_prose():
    found = concepts_from_text("dag {\n a -> -> b\n}")
    assert found.graph.names == () and found.graph.extra[INCOMPLETE] == list(found.problems)
    assert len(found.problems) == 1 and found.problems[0].startswith("line 2")
    assert concepts_from_text(f"Digraph of the picture: {GOOD['street']}").graph.names[0] == "weather"


class Dying(ScriptedVLM):
    """Cannot be asked when the script is over."""

    def ask(self, question, progress=None):
        if len(self.asked) == len(self.replies):
            raise VLMError("No server answers.")
        return super().ask(question, progress)


def test_what_was_read_is_not_lost_when_the_model_cannot_be_asked_again():
    whole = json.loads(GOOD["street"])
    found = extract_concepts(Dying({key: whole[key] for key in ("concepts", "edges")}), IMAGE)
    assert found.graph.concepts == read_graph_reply(GOOD["street"]).value.concepts
    assert found.problems and "Asking again failed. No server answers." in found.report()
    with pytest.raises(VLMError, match="No server answers"):
        extract_concepts(Dying("I cannot see a picture."), IMAGE)
