"""Reading replies: every kind of damage has one defined outcome, and nothing escapes."""
import json
import random
import sys
import time

import pytest

from csg.causal.formats import read_json, write_dagitty, write_dot, write_json
from csg.causal.graph import MAX_CONCEPTS, Edge
from csg.vlm import replies
from csg.vlm.extract import concepts_from_text
from csg.vlm.jsontext import find_object
from csg.vlm.protocol import VLMError
from csg.vlm.replies import BROKEN_OFF, INCOMPLETE, NO_JSON, read_graph_reply
from csg.vlm.schemas import AnswerReply, DescriptionReply, GraphReply, PropagationReply, SuggestionsReply, schema_of
from tests.unit.vlm.scripted import GOOD, mutated, rearranged

MINIMAL = {
    "base_prompt": "a house",
    "concepts": [{"name": "weather", "value": "sunny"}, {"name": "ground", "value": "dry"}],
    "edges": [{"cause": "weather", "effect": "ground"}],
}


def read(changed=None, **keys):
    return read_graph_reply(json.dumps(changed if changed is not None else {**MINIMAL, **keys}))


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_good_reply_is_read_whole(name):
    reading, data = read_graph_reply(GOOD[name]), json.loads(GOOD[name])
    assert reading.complete and not reading.notes
    assert reading.value.names == tuple(concept["name"] for concept in data["concepts"])
    assert [dict(c.values) for c in reading.value.concepts] == [concept["values"] for concept in data["concepts"]]
    assert [(e.cause, e.effect, e.reason) for e in reading.value.edges] == [tuple(e.values()) for e in data["edges"]]
    assert reading.value.base_prompt == data["base_prompt"]


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize(
    "damage",
    [
        lambda t: f"```json\n{t}\n```",
        lambda t: f"Sure! Here is the graph {{as asked}}:\n```\n{t}\n```\nTell me if you need more.",
        lambda t: f"<think>The sky {{is}} clear, so {{\"a\": 1}}.</think>\n{t}",
        lambda t: f"The sky is clear.</think>\n\n{t}",
        lambda t: t.replace('"}]}', '"},]}'),
        lambda t: t.replace("'", "").replace('"', "'"),
        lambda t: "\ufeff" + t + "\n\n<|im_end|>",
        lambda t: t.replace('"name"', '"Name"').replace('"cause"', '"from"').replace('"effect"', '"to"'),
        lambda t: t + t,
        lambda t: f"[{t}]",
        lambda t: "".join(f"[{n}] " for n in range(200)) + t,
        lambda t: json.dumps({"plan": [{"step": [n]} for n in range(200)]}) + t,
        lambda t: '{"base_prompt": "a draft", "concepts": [{"name": "a", "value": "b"}], "edges": []} Better: ' + t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace(" a ", "\n\ta\x01 "),
    ],
    ids=["fence", "prose", "thought", "open-thought", "comma", "quotes", "edges", "keys", "twice", "list", "footnotes", "plan",
         "draft", "crlf", "raw-breaks"],
)
def test_packaging_and_slips_lose_nothing(name, damage):
    whole, damaged = read_graph_reply(GOOD[name]), read_graph_reply(damage(GOOD[name]))
    assert damaged.complete, damaged.problems
    assert damaged.value == whole.value


def test_a_truncated_reply_keeps_what_was_written_and_says_so():
    text = GOOD["street"]
    reading = read_graph_reply(text[: text.index('"name": "street lamp"') + 60])
    assert BROKEN_OFF in reading.problems
    assert reading.value.names[:4] == ("weather", "ground", "umbrellas", "time of day")
    assert reading.value.extra[INCOMPLETE] == list(reading.problems)
    assert read_json(write_json(reading.value)) == reading.value


@pytest.mark.parametrize("depth", [100, 900, 990, 3000])
@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a": ', "}")])
def test_deep_nesting_is_no_reply(depth, opening, closing):
    deep = opening * depth + "1" + closing * depth
    assert not read_graph_reply(f'{{"base_prompt": {deep}, "concepts": [{{"name": "a", "value": {deep}}}]}}').complete
    assert not read_graph_reply(f'{{"more": {deep}, {json.dumps(MINIMAL)[1:]}').complete


def test_a_reply_made_to_be_slow_is_given_up():
    start = time.process_time()
    assert not read_graph_reply("[" * 900 + "1," * 100_000).complete
    assert time.process_time() - start < 3


@pytest.mark.parametrize("text", ["", "   ", "I cannot help with that.", "42", "null", "[]", "[1, 2]", '"text"', "{" * 5000])
def test_a_reply_without_an_object_is_an_empty_incomplete_graph(text):
    reading = read_graph_reply(text)
    assert reading.problems == (NO_JSON,)
    assert reading.value.names == () and reading.value.extra[INCOMPLETE] == [NO_JSON]


def test_problems_name_their_field():
    reading = read(concepts=[{"name": "weather", "value": "sunny"}, {"name": "ground"}, {"name": ["x"], "value": "y"}, 7])
    assert reading.value.names == ("weather",)
    assert [problem.split(":")[0] for problem in reading.problems] == ["concepts[1].value", "concepts[2].name", "concepts[3]"]


def test_a_wrong_extra_loses_only_itself():
    domain = {"sunny": "blue sky", "Rainy_day": ["rain"], "snowy": "snow", "hail": 7}
    concepts = [
        {"name": "weather", "value": "sunny", "values": domain},
        {"name": "ground", "value": "dry", "values": {"dry": "dry road"}, "description": ["the", "road"]},
        {"name": "mood", "value": "calm", "values": [{"value": "calm", "phrase": {}}, {"value": "wild"}]},
    ]
    reading = read(concepts=concepts, edges=[{"cause": "weather", "effect": "ground", "reason": {"why": "rain"}}])
    assert [problem.split(":")[0] for problem in reading.problems] == [
        "concepts[0].values.Rainy_day", "concepts[1].description", "concepts[2].values.calm", "edges[0].reason",
    ]  # fmt: skip
    assert dict(reading.value["weather"].values) == {"sunny": "blue sky", "snowy": "snow", "hail": "7"}
    assert reading.value["ground"].phrase() == "dry road" and reading.value["mood"].phrase() == "calm"
    assert [str(edge) for edge in reading.value.edges] == ["weather -> ground"]


def test_a_missing_prompt_list_or_edge_list_is_a_problem():
    assert any(p.startswith("base_prompt") for p in read(base_prompt=None).problems)
    assert any(p.startswith("concepts") for p in read(concepts=[]).problems)
    assert any(p.startswith("edges") for p in read(edges="none").problems)


def test_a_concept_named_twice_counts_once():
    twice = [{"name": "time_of_day", "value": "noon"}, {"name": "Time of day", "value": "dusk"}]
    again = [*MINIMAL["concepts"], {"name": "Weather", "value": "rainy"}, *twice]
    reading = read(concepts=again)
    assert reading.complete and reading.value.names == ("weather", "ground", "time_of_day")
    assert reading.value["weather"].value == "sunny" and "'Weather' was named twice" in reading.notes[0]
    assert reading.value["time_of_day"].value == "noon" and "'Time of day' was named twice" in reading.notes[1]


def test_edges_that_join_nothing_go_with_a_note():
    edges = [*MINIMAL["edges"], *MINIMAL["edges"], {"cause": "ground", "effect": "ground"}, {"cause": "moon", "effect": "ground"}]
    reading = read(edges=edges)
    assert reading.complete and len(reading.value.edges) == 1
    assert [note.split(" does")[0] for note in reading.notes] == ["The edge ground -> ground", "The edge moon -> ground"]


def test_a_factual_value_outside_its_domain_is_added_to_it():
    values = {"rainy": "rain", "snowy": "snow"}
    concept = read(concepts=[{"name": "weather", "value": "foggy", "values": values}], edges=[]).value["weather"]
    assert dict(concept.values) == {"foggy": "foggy", **values}
    near = read(concepts=[{"name": "weather", "value": "Rainy ", "values": values}], edges=[]).value["weather"]
    assert near.value == "rainy" and dict(near.values) == values


def test_two_hundred_concepts_are_cut_to_the_limit():
    many = [{"name": f"concept {i:03}", "value": "on"} for i in range(200)]
    edges = [{"cause": "concept 000", "effect": "concept 199"}]
    reading = read(concepts=many, edges=edges)
    assert len(reading.value.concepts) == MAX_CONCEPTS and reading.value.edges == ()
    assert "200 concepts were named; the first 64 are kept." in reading.notes
    assert len(read_graph_reply(json.dumps({**MINIMAL, "concepts": many}), 8).value.concepts) == 8


def test_a_thousand_values_or_edges_are_cut_to_the_limit_with_a_note():
    values = {f"shade {i:04}": f"paint {i}" for i in range(1000)}
    reading = read(concepts=[{"name": "wall", "value": "Shade 0999", "values": values}], edges=[])
    assert len(reading.value["wall"].values) == replies.MAX_VALUES + 1
    assert reading.value["wall"].phrase() == "paint 999" and reading.value["wall"].phrase("shade 0000") == "paint 0"
    assert reading.notes == ("'wall' has 1000 values; the first 24 are kept.",)
    names = [{"name": f"n{i:02}", "value": "on"} for i in range(40)]
    edges = [{"cause": f"n{i:02}", "effect": f"n{j:02}"} for i in range(40) for j in range(i + 1, 40)]
    reading = read(concepts=names, edges=edges)
    assert len(reading.value.edges) == 400 and reading.notes == ("780 edges were drawn; the first 400 are read.",)


@pytest.mark.parametrize("number", [10**400, -(10**4000), 1e999, 10**59])
def test_numbers_of_any_size_are_read_or_refused(number):
    reading = read(concepts=[{"name": "stars", "value": number, "values": {"none": number}}], edges=[number], base_prompt=number)
    assert reading.value.names == (() if isinstance(number, int) and abs(number) > 10**60 else ("stars",))
    assert not replies.read_answer(json.dumps({"answer": number})).complete


def test_domains_may_come_as_lists_and_numbers_as_values():
    concepts = [
        {"name": "birds", "value": 3, "values": [3, 5]},
        {"name": "lamp", "value": True, "values": [{"value": "yes", "phrase": "lit lamp"}, {"value": "no", "phrase": ""}]},
    ]
    graph = read(concepts=concepts, edges=[]).value
    assert dict(graph["birds"].values) == {"3": "3", "5": "5"} and graph["birds"].value == "3"
    assert graph["lamp"].phrase() == "lit lamp" and graph["lamp"].phrase("no") == ""


def test_another_language_is_kept():
    concepts = [{"name": "\u5929\u6c14", "value": "\u6674", "values": {"\u6674": "\u6674\u6717\u7684\u5929\u7a7a", "\u96e8": "\u96e8"}}]
    reading = read(base_prompt="\u4e00\u5ea7\u9ec4\u8272\u7684\u623f\u5b50", concepts=concepts, edges=[])
    assert reading.complete and reading.value["\u5929\u6c14"].phrase("\u96e8") == "\u96e8"


LOADED = "(gold:99) <lora:x:9> embedding:../../secret {a|b}"


def test_hostile_text_stays_text_and_loses_its_teeth():
    concepts = [
        {"name": "<script>alert(1)</script>", "value": "a\u202eb\x00\n c", "values": {"a b c": LOADED}},
        {"name": "x" * 10_000, "value": "y = z; do(w = 1) # no"},
        {"name": "__proto__", "value": "constructor"},
    ]
    graph = read(concepts=concepts, edges=[], base_prompt="a house, embedding:evil, (bright:9)").value
    first, second, third = graph.concepts
    assert first.name == "<script>alert(1)</script>" and first.value == "a b c"
    assert first.phrase() == "gold:99 ../../secret a b"
    assert len(second.name) == 60 and second.value == "y z do(w 1) no" and third.name == "__proto__"
    assert graph.base_prompt == "a house, evil, bright:9"


def proposals(graph):
    return [edge for edge in graph.edges if edge.status == "proposed"]


def test_of_a_cycle_the_edge_without_a_reason_becomes_a_proposal_of_the_graph():
    names = [{"name": n, "value": "on"} for n in "abcd"]
    edges = [
        {"cause": "a", "effect": "b", "reason": "r"},
        {"cause": "b", "effect": "c"},
        {"cause": "c", "effect": "a", "reason": "r"},
        {"cause": "c", "effect": "d", "reason": "r"},
    ]
    reading = read(concepts=names, edges=edges)
    assert reading.complete
    assert [str(edge) for edge in reading.value.edges] == ["a -> b", "b -> c", "c -> a", "c -> d"]
    assert proposals(reading.value) == [Edge("b", "c", status="proposed")] and reading.value.extra == {}
    assert reading.value.descendants(["c"]) == {"a", "b", "d"}, "nothing follows a proposal"
    assert reading.notes == ("The edge b -> c would close a cycle; it becomes a proposal, without effect.",)


def test_a_cut_edge_keeps_its_reason_and_what_the_model_only_proposes_is_no_cycle():
    names = [{"name": n, "value": "on"} for n in "ab"]
    edges = [{"cause": "a", "effect": "b", "reason": "r"}, {"cause": "b", "effect": "a", "reason": "s"}]
    reading = read(concepts=names, edges=edges)
    assert proposals(reading.value) == [Edge("b", "a", "s", "proposed")] and len(reading.notes) == 1
    doubted = read(concepts=names, edges=[{**edges[0], "status": "proposed"}, edges[1]])
    assert proposals(doubted.value) == [Edge("a", "b", "r", "proposed")] and doubted.notes == ()


def test_each_edge_that_closes_a_cycle_with_those_before_it_becomes_a_proposal():
    names = [{"name": n, "value": "on"} for n in "abcd"]
    pairs = ["ab", "bc", "ca", "cd", "da"]
    reading = read(concepts=names, edges=[{"cause": p[0], "effect": p[1]} for p in pairs])
    assert [edge.cause + edge.effect for edge in proposals(reading.value)] == ["ca", "da"]


def test_a_large_tangle_is_undone_too():
    names = [{"name": f"n{i}", "value": "on"} for i in range(20)]
    edges = [{"cause": f"n{i}", "effect": f"n{j}"} for i in range(20) for j in range(20) if i != j]
    reading = read(concepts=names, edges=edges)
    assert len(reading.value.edges) == 380 and len(proposals(reading.value)) == 190


def test_the_object_with_the_wanted_keys_is_found_among_others():
    text = '{"note": "first"} and then {"answer": "yes"} and {"answer2": 1}'
    assert find_object(text, ("answer",)).data == {"answer": "yes"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"answer": "yes"}', True), ('{"answer": "No."}', False), ('{"answer": true}', True), ("Yes, it does.", True),
        ("**No**", False), ("<think>yes or no?</think>no", False), ("\u662f", True), ("\u5426", False), ("", None), ("perhaps", None),
        ("The road is wet and no house is lit, so the answer is yes.", True), ("No. A yes would need rain.", False),
        ("Is it 1 of 0? Yes", True), ('{"answer": "maybe"}', None), ('{"answer": null}', None),
    ],
)  # fmt: skip
def test_yes_and_no(text, said):
    reading = replies.read_answer(text)
    assert reading.value is said and reading.complete == (said is not None)


def test_schemas_ask_for_every_key_and_forbid_others():
    schema = schema_of(GraphReply)
    assert schema["required"] == ["base_prompt", "concepts", "edges"]
    concept = schema["$defs"]["ConceptReply"]
    assert concept["required"] == ["name", "value", "values", "scope"] and concept["additionalProperties"] is False
    assert schema_of(DescriptionReply)["required"] == ["description", "base_prompt"]
    assert schema_of(PropagationReply)["$defs"]["ValueReply"]["required"] == ["concept", "reason", "value"]
    assert "status" not in schema["$defs"]["EdgeReply"]["properties"]
    for reply in (PropagationReply, SuggestionsReply, AnswerReply):
        assert json.loads(json.dumps(schema_of(reply)))["additionalProperties"] is False


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)
    assert read_graph_reply(GOOD["street"]).complete
    assert read_graph_reply(GOOD["street"].replace(" a ", "\n\ta ")).complete, "line breaks in a string need no repair"
    with pytest.raises(VLMError, match="pip install json-repair"):
        read_graph_reply("{'base_prompt': 'a house'}")


def test_ten_thousand_mutations_of_good_replies():
    random_ = random.Random(20)
    complete, lost, cycles = 0, 0, 0
    for index in range(10_000):
        text = (mutated, rearranged)[index % 2](random_.choice(list(GOOD.values())), random_)
        reading = read_graph_reply(text)
        complete += reading.complete
        lost += not reading.value.concepts
        cycles += any("would close a cycle" in note for note in reading.notes)
        assert reading.complete == (INCOMPLETE not in reading.value.extra)
        assert read_json(write_json(reading.value)) == reading.value, index
    assert 500 < complete < 9500 and lost < 2500 and cycles > 200


def test_no_damage_to_any_text_escapes_from_any_reader():
    random_ = random.Random(21)
    graph = read_graph_reply(GOOD["street"]).value
    texts = [*GOOD.values(), write_dagitty(graph), write_dot(graph)]
    others = (replies.read_description, replies.read_concepts, replies.read_values, replies.read_suggestions, replies.read_answer)
    for index in range(1000):
        text = mutated(random_.choice(texts), random_)
        found = concepts_from_text(text).graph
        assert read_json(write_json(found)) == found, index
        others[index % len(others)](text)
        replies.read_edges(text, graph.concepts)
