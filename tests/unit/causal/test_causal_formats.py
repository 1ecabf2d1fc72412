"""Formats: whole round trips, foreign files, and broken or hostile texts."""

import json
import time

import pytest
from hypothesis import given

from csg.causal import assignments, formats
from csg.causal.graph import CausalGraph, Concept, Edge, GraphError
from tests.unit.causal.random_graphs import HOSTILE, graphs

MINIMAL = '{"concepts": [{"name": "weather", "value": "sunny"}]}'


@pytest.mark.parametrize("format", formats.FORMATS)
@given(graph=graphs())
def test_round_trip_is_whole(format, graph):
    text = formats.write_graph(graph, format)
    assert formats.read_graph(text, format) == graph
    assert formats.read_graph(text) == graph
    assert formats.write_graph(formats.read_graph(text), format) == text
    text.encode("utf-8")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_hostile_strings_survive_everywhere_at_once(format):
    names = [text for text in HOSTILE if text.strip()]
    concepts = [
        Concept(text, text, {text: text, "b": text}, "global", text, (1.5, -2), {text + "?": text}) for text in names
    ]
    edges = [Edge(names[0], text, text, "proposed", {text + "?": [text]}) for text in names[1:]]
    graph = CausalGraph("".join(HOSTILE), concepts, edges, {names[2]: "b"}, {"x": HOSTILE})
    assert formats.read_graph(formats.write_graph(graph, format)) == graph


def test_names_that_become_alike_stay_apart():
    graph = CausalGraph(concepts=[Concept(name, "x") for name in ("a_", "a\n", "a\t", "a\\", "a__")])
    for format in formats.FORMATS:
        assert formats.read_graph(formats.write_graph(graph, format)).names == graph.names


def test_json_defaults():
    graph = formats.read_json(MINIMAL)
    assert graph.base_prompt == "" and graph.edges == () and graph.interventions == {}
    assert graph["weather"] == Concept("weather", "sunny", {"sunny": "sunny"}, "local", "", None)


def test_json_has_the_documented_keys_and_keeps_unknown_ones():
    data = {
        "version": 1,
        "base_prompt": "a house",
        "concepts": [
            {
                "name": "weather",
                "value": "sunny",
                "values": {"sunny": "sunny weather"},
                "scope": "local",
                "description": "",
                "position": [40, 20],
                "colour": "#fff",
            },
            {"name": "ground", "value": "dry", "values": {"dry": "dry ground"}, "scope": "global", "description": "d"},
        ],
        "edges": [{"cause": "weather", "effect": "ground", "reason": "r", "status": "proposed", "weight": 0.5}],
        "interventions": {"weather": "sunny"},
        "author": {"name": "me"},
    }
    assert json.loads(formats.write_json(formats.read_json(json.dumps(data)))) == data


def test_a_list_of_values_stands_for_its_own_phrases():
    graph = formats.read_json('{"concepts": [{"name": "sky", "value": "blue", "values": ["blue", "grey"]}]}')
    assert graph["sky"].values == {"blue": "blue", "grey": "grey"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty"),
        ('{"concepts": [\n  {"name": "a" "value": "b"}]}', "line 2, column 16: this is not JSON"),
        ("[]", "the graph: expected an object, got []"),
        ("{}", "the graph has no 'concepts'; add a list"),
        ('{"concepts": [1]}', "concepts[0]: expected an object, got 1"),
        ('{"concepts": [{"value": "x"}]}', "concepts[0] has no 'name'"),
        ('{"concepts": [{"name": "a", "value": true}]}', "concepts[0], 'value': expected a text, got true"),
        (
            '{"concepts": [{"name": "a", "value": "b", "values": {"b": 3}}]}',
            "concepts[0], 'values', 'b': expected a text, got 3",
        ),
        (
            '{"concepts": [{"name": "a", "value": "b", "position": [1, "2"]}]}',
            'expected two numbers [x, y], got [1, "2"]',
        ),
        ('{"concepts": [], "edges": [{"cause": "a"}]}', "edges[0] has no 'effect'"),
        ('{"concepts": [], "version": 2}', "version 2; up to 1 is known"),
        ('{"concepts": [], "version": true}', "'version': expected a whole number, got true"),
        ('{"concepts": [], "concepts": []}', "The key 'concepts' stands twice"),
        ('{"concepts": [], "x": NaN}', "NaN is no number"),
        ('{"concepts": [], "x": ' + "9" * 5000 + "}", "a number that is too long"),
        ("[" * 200_000, "nested too deeply"),
        ("dag {\n a -> b\n b -> ] \n}", "line 3: expected a name, got ']'"),
        ("dag {\n a -> b", "line 2: expected a name, got 'the end of the text'"),
        ("dag {\n a ? b }", "line 2: cannot read '? b }'"),
        ("dag {\n a [label=<b] }", "line 2: an HTML label is not closed"),
        ('dag {\n "a\n }', "line 2: cannot read"),
        ("dag { a } b", "expected nothing after the last '}', got 'b'"),
        ("digraph {" + "{" * 100, "groups are nested more than 32 deep"),
        (
            "dag {\n" + "\n".join(f"c{i}" for i in range(70)) + "}",
            "line 66: more than 64 concepts, of which 'c64' is one too many",
        ),
        ('dag { a [csg="{"] }', "The attribute csg='{' is damaged"),
        ("dag { a -> b -> c -> a }", "a -> b -> c -> a"),
        ("{" + " " * 1_000_000, "at most 1000000"),
    ],
)
def test_broken_text_is_refused_with_its_place(text, message):
    with pytest.raises(GraphError) as refusal:
        formats.read_graph(text)
    assert message in str(refusal.value)


def test_unknown_format_is_refused():
    with pytest.raises(GraphError, match="Unknown format 'gml'; expected one of json, dagitty, dot"):
        formats.write_graph(CausalGraph(), "gml")


def test_reads_what_dagitty_writes():
    graph = formats.read_graph(
        'dag {\nbb="0,0,1,1"\nSmoking [exposure,pos="-2.200,-1.520"]\n"Lung cancer" [outcome,pos="1.400,1.621"]\n'
        'Tar [latent]\nSmoking -> Tar [beta=0.3]\nTar -> "Lung cancer" [pos="-0.791,-1.045"]\n}'
    )
    assert graph.names == ("Smoking", "Lung cancer", "Tar")
    assert graph["Smoking"].position == (-2.2, -1.52)
    assert graph["Tar"].phrase() == "Tar"
    assert [str(edge) for edge in graph.edges] == ["Smoking -> Tar", "Tar -> Lung cancer"]


def test_reads_chains_groups_and_reversed_edges():
    graph = formats.read_graph("dag { {X V} -> U; S1 <- U -> W -> S2 }")
    assert {str(edge) for edge in graph.edges} == {"X -> U", "V -> U", "U -> S1", "U -> W", "W -> S2"}


def test_reads_what_graphviz_users_write():
    graph = formats.read_graph(
        '// streets\nstrict digraph "my graph" {\n  graph [rankdir=LR]; node [shape=box]\n  label = "street";\n'
        '  subgraph cluster_sky { label="sky"; weather [label="sunny\\nweather", pos="10,20!"] }\n'
        '  weather:e -> ground:w -> "lam" + "p" [style=dashed] /* a chain */\n  # the end\n}'
    )
    assert graph.names == ("weather", "ground", "lamp")
    assert graph["weather"].phrase() == "sunny weather"
    assert graph["weather"].position == (10, -20)
    assert graph.descendants(["weather"]) == {"ground", "lamp"}


def test_a_node_renamed_in_another_program_keeps_its_new_name():
    graph = CausalGraph(concepts=[Concept("sky", "blue"), Concept("sea", "calm")], edges=[Edge("sky", "sea")])
    renamed = formats.write_dagitty(graph).replace('"sky"', '"heaven"')
    assert formats.read_dagitty(renamed).names == ("heaven", "sea")


@pytest.mark.parametrize(
    "unit", ["a -> b;\n", "{a b} -> {c d};\n", "/* x */", 'a [k="v"]\n', '"a" + ', "[", '"\\', '{"a": [', "/*", "a -> "]
)
def test_large_input_is_read_or_refused_in_linear_time(unit):
    def seconds(size):
        begin = time.process_time()
        try:
            formats.read_graph("dag {" + unit * (size // len(unit)) + "}")
        except GraphError:
            pass
        return time.process_time() - begin

    seconds(10_000)
    assert seconds(400_000) < 12 * max(seconds(100_000), 0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("weather = rainy; time = night", {"weather": "rainy", "time": "night"}),
        (
            "# all\nweather=rainy # wet\n\n time of day = late night \n",
            {"weather": "rainy", "time of day": "late night"},
        ),
        ("a = b = c", {"a": "b = c"}),
    ],
)
def test_assignments(text, expected):
    assert assignments.parse_assignments(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weather = rainy\nnight", "line 2: expected `concept = value`, got 'night'"),
        ("weather =", "line 1: expected `concept = value`, got 'weather ='"),
        ("a = b\n\na = c", "line 3: 'a' is assigned twice"),
    ],
)
def test_broken_assignments_name_their_line(text, message):
    with pytest.raises(GraphError) as refusal:
        assignments.parse_assignments(text)
    assert message in str(refusal.value)


@pytest.mark.parametrize("strength", ["-1", '"2"', "null", "true", "1" + "0" * 400])
def test_a_strength_that_is_no_factor_is_refused(strength):
    with pytest.raises(GraphError, match="expected a number"):
        formats.read_json(f'{{"concepts": [{{"name": "sky", "value": "grey", "strength": {strength}}}]}}')


def test_strengths_are_factors_of_known_concepts():
    assert assignments.parse_strengths("snowman = 1.2; car = 0\n# nothing", ("car", "snowman")) == {"snowman": 1.2, "car": 0.0}
    assert assignments.parse_strengths("", ()) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [("snwoman = 2", "'snwoman', which the graph does not have. Did you mean 'snowman'"),
     ("car = -1", "of 'car' is '-1'; expected a number"),
     ("car = much", "'much'"), ("car = nan", "'nan'"), ("car = inf", "'inf'")],
)  # fmt: skip
def test_a_strength_that_means_nothing_is_told(text, told):
    with pytest.raises(GraphError, match=told):
        assignments.parse_strengths(text, ("car", "snowman"))
