"""Whole, valid answers in the forms in which models and nodes really hand them on, and verdicts as they are declared."""

import json
import random
from itertools import pairwise

import pytest

from csg.vlm import replies
from csg.vlm.extract import concepts_from_text
from csg.vlm.jsontext import find_object
from csg.vlm.streams import Completion
from tests.unit.work import calls_of

CONCEPTS = [
    {"name": "time", "value": "day", "values": {"day": "daylight", "night": "a dark night"}, "scope": "global"},
    {"name": "lamp", "value": "off", "values": {"off": "a dark lamp", "on": "a shining lamp"}},
]
EDGES = [{"cause": "time", "effect": "lamp", "reason": "lamps are lit at night"}]
GRAPH = {"base_prompt": "a square by day", "concepts": CONCEPTS, "edges": EDGES}
TEXT = json.dumps(GRAPH)

FORMS = {
    "an envelope": json.dumps({"result": GRAPH}),
    "envelopes in envelopes": json.dumps({"status": "ok", "output": {"data": [GRAPH]}}),
    "the form's name": json.dumps({"GraphReply": GRAPH}),
    "a schema filled in": json.dumps({"type": "object", "properties": {k: {"type": "array", "value": v} for k, v in GRAPH.items()}}),
    "a schema, then the answer": json.dumps({"type": "object", "properties": {k: {"type": "string"} for k in GRAPH}}) + "\n" + TEXT,
    "a tool call": '<tool_call>{"name": "graph", "arguments": ' + TEXT + "}</tool_call>",
    "a tool call's arguments as text": json.dumps({"function": {"name": "graph", "arguments": TEXT}}),
    "everything as text": json.dumps({"content": TEXT}),
    "lists as texts": json.dumps(GRAPH | {"concepts": json.dumps(CONCEPTS), "edges": json.dumps(EDGES)}),
    "a list in a list": json.dumps(GRAPH | {"concepts": [CONCEPTS], "edges": [[EDGES[0]]]}),
    "edges as a mapping": json.dumps(GRAPH | {"edges": {"time": ["lamp"]}}),
    "edges as a mapping of one each": json.dumps(GRAPH | {"edges": {"time": "lamp"}}),
    "edges as pairs": json.dumps(GRAPH | {"edges": [["time", "lamp"]]}),
    "edges as triples": json.dumps(GRAPH | {"edges": [["time", "lamp", "why not"]]}),
    "edges as arrows": json.dumps(GRAPH | {"edges": ["time \u2192 lamp"]}),
    "edges as arrows that point back": json.dumps(GRAPH | {"edges": ["lamp <- time"]}),
    "edges as one text": json.dumps(GRAPH | {"edges": "- time --> lamp\n"}),
    "from and to": json.dumps(GRAPH | {"edges": [{"from": "time", "to": "lamp"}]}),
    "source and target, nodes and links": json.dumps(
        {"base_prompt": "a square", "nodes": CONCEPTS, "links": [{"source": "time", "target": "lamp"}]}),
    "parts in blocks": "\n".join(f"```json\n{json.dumps({key: part})}\n```" for key, part in GRAPH.items()),
    "an empty afterthought": TEXT + '\nMissing: {"base_prompt": "", "concepts": [], "edges": []}',
    "a Python list of a text": repr([TEXT]),
    "a Python list of a fenced text": repr([f"```json\n{json.dumps(GRAPH, indent=1)}\n```"]),
    "a JSON list of texts": json.dumps(["Here:", TEXT]),
    "quotes that curl": TEXT.replace('"', "\u201d"),
    "a server's whole answer": json.dumps({"choices": [{"message": {"content": f"Here:\n```json\n{TEXT}\n```"}}]}),
    "a text of a text": json.dumps(json.dumps(TEXT)),
    "a tag for each argument": "<function=graph>" + "".join(
        f"<parameter={key}>\n{part if isinstance(part, str) else json.dumps(part)}\n</parameter>" for key, part in GRAPH.items()),
    "a named tag for each argument": "".join(
        f'<parameter name="{key}">{part if isinstance(part, str) else json.dumps(part)}</parameter>' for key, part in GRAPH.items()),
    "escaped keys": TEXT.replace("base_prompt", "base\\_prompt"),
    "keys with capitals": TEXT.replace("base_prompt", "basePrompt"),
    "a graph beside its prompt": json.dumps({"base_prompt": "a square", "causal_graph": {"concepts": CONCEPTS, "edges": EDGES}}),
    "relationships and a prompt": json.dumps({"prompt": "a square", "variables": CONCEPTS, "causal_relationships": EDGES}),
    "other names of ends": json.dumps(GRAPH | {"edges": [{"cause_concept": "time", "effect_concept": "lamp"}]}),
    "ends of an arrow": json.dumps(GRAPH | {"edges": [{"src": "time", "dst": "lamp"}]}),
    "edges in words": json.dumps(GRAPH | {"edges": ["time causes lamp"]}),
    "other names of domains": json.dumps(GRAPH | {"concepts": [
        {"name": "time", "current_value": "day", "possible_values": ["day", "night"]},
        {"name": "lamp", "state": "off", "states": ["off", "on"]}]}),
    "domains as texts": json.dumps(GRAPH | {"concepts": [
        {"name": "time", "value": "day", "values": "day, night"}, {"name": "lamp", "value": "off", "values": "off|on"}]}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_answer_is_read_whole(form):
    found = concepts_from_text(FORMS[form])
    assert [concept.name for concept in found.graph.concepts] == ["time", "lamp"]
    assert [list(concept.values) for concept in found.graph.concepts] == [["day", "night"], ["off", "on"]]
    assert [str(edge) for edge in found.graph.edges] == ["time -> lamp"] and not found.problems
    assert found.graph.base_prompt.startswith("a square")


def test_truth_values_are_values_of_a_domain_of_truth_values():
    lit = {"name": "lit", "value": False, "values": {"false": "a dark lamp", "true": "a shining lamp"}}
    concept = concepts_from_text(json.dumps({"base_prompt": "x", "concepts": [lit], "edges": []})).graph["lit"]
    assert (concept.value, list(concept.values)) == ("false", ["false", "true"])


def test_a_list_at_the_socket_is_its_texts():
    assert len(concepts_from_text(["I see a square.", TEXT]).graph.concepts) == 2


def test_a_mapping_of_causes_to_effects_is_a_graph_and_an_empty_answer_is_not():
    mapping = 'So:\n```json\n{"rain": ["street", "umbrella"]}\n```\n'
    assert list(map(str, concepts_from_text(mapping).graph.edges)) == ["rain -> street", "rain -> umbrella"]
    assert concepts_from_text('{"concepts": []}').problems


@pytest.mark.parametrize("unit", ['"a"+', '"it"s", ', '"a" -> "b" ; ', "\n\"a\" (b)\n"])
def test_of_quotes_in_odd_places_no_more_is_mended_than_can_be(monkeypatch, unit):
    """json-repair seeks the end of each anew: its work is their number times the letters."""
    given = []
    monkeypatch.setattr("json_repair.repair_json", lambda text, **_: given.append(text))
    for count in (100, 10_000):
        replies.read_graph_reply("{" + unit * count + '"a"}')
    few, many = given
    assert few == "{" + unit * 100 + '"a"}' and many.count('"') * len(many) <= 20_000_000


def test_of_nested_brackets_and_of_objects_as_texts_no_more_is_mended_than_can_be(monkeypatch):
    """json-repair reads what lies in brackets without keys once for each, and takes some escaped quotes for a string's end."""
    given = []
    monkeypatch.setattr("json_repair.repair_json", lambda text, **_: given.append(text))
    for unit, most in (("{" * 30 + "rain" + "}" * 30, 200_000 // 31), ('{"a":"{\\"b\\":1,}"},', 20_000)):
        for count, expected in ((20, 20 * len(unit) + 6), (10_000, most)):
            replies.read_graph_reply('{"x" [' + unit * count)
            longest = max(map(len, given))
            assert longest == expected if count == 20 else longest <= expected
            given.clear()


def test_a_reply_broken_off_behind_a_backslash_has_no_brackets_in_its_last_text():
    found = concepts_from_text(TEXT[:-1] + ', "note": "' + "[" * 100 + "\\")
    assert len(found.graph.concepts) == 2


def test_of_two_answers_the_fuller_counts_and_the_other_is_named():
    poorer = json.dumps({"base_prompt": "a garden", "concepts": CONCEPTS[:1]})
    for text in (f"{TEXT}\n{poorer}", f"{poorer}\n{TEXT}"):
        found = concepts_from_text(text)
        assert len(found.graph.concepts) == 2 and found.graph.base_prompt == "a square by day"
        assert any("answers 2 times" in note for note in found.notes)
    assert not concepts_from_text(f"{TEXT}\n{TEXT}").notes


def test_every_reader_looks_into_envelopes():
    values = {"values": [{"concept": "lamp", "value": "on"}], "prompt": "a square at night"}
    assert replies.read_values(json.dumps({"data": values})).value[0][0].value == "on"
    assert replies.read_values(json.dumps({"values": ["lamp = on"], "prompt": "x"})).value[0][0].concept == "lamp"
    assert replies.read_answer('{"output": {"answer": "yes"}}').value is True
    asked = {"interventions": [{"concept": "time", "value": "night", "values": [], "prompt": "x"}]}
    assert replies.read_suggestions(json.dumps({"result": json.dumps(asked)})).value[0].value == "night"
    assert replies.read_description(json.dumps({"response": {"description": "a", "base_prompt": "b"}})).value["base_prompt"] == "b"


VERDICTS = {
    "The answer is yes, because there is no wind in the trees.": True,
    "**Answer:** No\n\nYes would need snow on every roof.": False,
    "Final answer: No. Yes would need puddles.": False,
    "My verdict: yes. No doubt.": True,
    "No clouds can be seen, so yes.": True,
    "No it is dry.": False,
    "Is it wet, yes or no? There is no water, so no.": False,
    "Yes, at first. Then again, no": None,
    "Some roofs are white, no lawn is, yes the hill is": None,
    "Answer: yes. Answer: no.": None,
    "It is hard to tell.": None,
    "The answer is not yes.": None,
    "The answer is no longer clear": None,
    "The answer is yes and no": None,
    "Answer: yes. Reason: the road is no longer dry": True,
    "不对，地面是干的": False,
    "是的地面是湿的": True,
    "不是，地面是干的": False,
    "答案：是。没有太阳。": True,
    "是否湿了很难说": None,
    "但是很难说": None,
    "はい、濡れています": True,
    "아니요. 말랐어요": False,
    "Antwort: ja, denn es gibt keine Sonne": True,
}


@pytest.mark.parametrize("text", VERDICTS)
def test_a_verdict_counts_where_it_is_declared(text):
    assert replies.read_answer(text).value is VERDICTS[text]


def completed(*deltas, end="stop"):
    completion = Completion()
    for delta in deltas:
        completion.add({"choices": [{"delta": delta}]})
    completion.add({"choices": [{"delta": {}, "finish_reason": end}]})
    return completion


def test_an_answer_is_found_wherever_a_server_puts_it():
    assert completed({"reasoning_content": "{}"}, {"content": " \n"}).reply == "{}"
    call = [{"index": 0, "function": {"name": "f", "arguments": part}} for part in ('{"a":', " 1}")]
    assert completed(*({"content": None, "tool_calls": [each]} for each in call), end="tool_calls").reply == '{"a": 1}'
    assert completed({"reasoning": "hm"}, {"content": "yes"}).reply == "yes"


def test_an_end_that_the_model_did_not_choose_is_told():
    assert "raise max_tokens" in completed({"reasoning": "hm"}, end="length").remark
    assert "filter" in completed({"content": ""}, end="content_filter").remark
    assert completed({"content": "x"}).remark == completed({"content": "x"}, end="tool_calls").remark == ""


def nested(depth):
    data = GRAPH
    for _ in range(depth):
        data = {"data": data, "other": [1, {"x": "y"}]}
    return json.dumps(data)


def test_envelopes_are_opened_only_so_far_and_at_a_bounded_cost():
    assert len(concepts_from_text(nested(3)).graph.concepts) == 2
    assert concepts_from_text(nested(50)).problems
    broad = json.dumps([{"a": [{"b": [{}] * 30}] * 30}] * 30)
    assert calls_of(lambda: find_object(broad, ("concepts",))) < 800_000


def test_thousands_of_wrong_entries_are_no_reason_to_try_them_all():
    concept = {"name": "a", "value": "b", "values": {str(i): [i] for i in range(5000)}}
    wrong = json.dumps({"base_prompt": "x", "concepts": [concept], "edges": []})
    assert len(concepts_from_text(wrong).graph.concepts) <= 1
    assert concepts_from_text(json.dumps({"base_prompt": "x", "concepts": [3] * 5000, "edges": []})).problems


WRONG = {
    "entries of a domain": (replies.read_graph_reply, lambda n: {
        "base_prompt": "x", "concepts": [{"name": "a", "value": "b", "values": {str(i): [i] for i in range(n)}}], "edges": []}),
    "concepts": (replies.read_concepts, lambda n: {"concepts": [3] * n}),
    "edges": (lambda text: replies.read_edges(text, ()), lambda n: {"edges": [{"cause": "a", "effect": i} for i in range(n)]}),
    "values": (replies.read_values, lambda n: {"values": [{"concept": "a", "value": [i]} for i in range(n)], "prompt": "x"}),
    "values of an idea": (replies.read_suggestions, lambda n: {"interventions": [
        {"concept": "a", "value": "b", "values": [{"concept": "a", "value": [i]} for i in range(n)], "prompt": 3}]}),
    "keys of a description": (replies.read_description, lambda n: {"base_prompt": 3, "description": {str(i): i for i in range(n)}}),
    "keys of a verdict": (replies.read_answer, lambda n: {"answer": {str(i): i for i in range(n)}}),
}  # fmt: skip


@pytest.mark.parametrize(("read", "wrong"), WRONG.values(), ids=WRONG)
def test_twice_the_wrong_entries_are_twice_the_work(read, wrong):
    texts = [json.dumps(wrong(125 << k)) for k in range(5)]
    read(texts[0])
    work = [calls_of(lambda text=text: read(text)) for text in texts]
    steps = [more - less for less, more in pairwise(work)]
    assert all(more <= 2.6 * max(less, 1000) for less, more in pairwise(steps)), work


def test_no_mutation_of_an_answer_makes_a_reader_raise():
    random_ = random.Random(5)
    for _ in range(150):
        text = list(random_.choice(list(FORMS.values())))
        for _ in range(random_.randrange(1, 12)):
            at = random_.randrange(len(text))
            text[at : at + random_.randrange(4)] = random_.choice([*'"{}[],:\\\'`', "null", "", "->", "yes"])
        concepts_from_text("".join(text))
        replies.read_answer("".join(text))
