"""Python and the editor's JavaScript read every text alike, and each reads what the other writes."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csg.causal import formats
from csg.causal.graph import GraphError
from tests.unit.causal.random_graphs import graphs

READER = Path(__file__).resolve().parents[2] / "web" / "read_lines.mjs"
NAMES = [
    "a",
    "b",
    "weather",
    '"dry road"',
    "cafe\u0301",
    '"caf\u00e9"',
    "मौसम",
    "🌧",
    "node1",
    '"\\"x\\\\"',
    "1",
    "-2.5",
    "<b>&amp;</b>",
]
KEYS = [
    "dir",
    "arrowhead",
    "arrowtail",
    "style",
    "label",
    "shape",
    "value",
    "do",
    "proposed",
    "pos",
    "color",
    "csg",
    "csg_graph",
]
VALUES = [
    "none",
    "back",
    "both",
    "forward",
    "odot",
    "normal",
    "invis",
    "transparent",
    '"dashed, invis"',
    "record",
    "sunny",
    '"1,2"',
    '"1e999,0"',
    "false",
    "yes",
    '"{}"',
    '"{\\"value\\": \\"x\\"}"',
    '"one\\ltwo\\N &lt; &#233;"',
    "<a<br/>b>",
    '""',
    '" "',
    '"{<p> x|y}"',
    "é",
]
ARROWS = ["->", "<-", "--", "<->", "@->", "<-@", "@-@", "@--", "\u2192"]
names, arrows = st.sampled_from(NAMES), st.sampled_from(ARROWS)
attributes = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES)), max_size=3).map(
    lambda pairs: (
        "[" + ", ".join(key if value is None else f"{key}={value}" for key, value in pairs) + "]" if pairs else ""
    )
)
groups = st.one_of(
    names,
    names.map(lambda name: f"{name}:p:ne"),
    st.lists(names, max_size=3).map(lambda each: "{" + " ".join(each) + "}"),
)
chains = st.tuples(groups, st.lists(st.tuples(arrows, groups), max_size=2), attributes).map(
    lambda parts: " ".join([parts[0], *(f"{arrow} {group}" for arrow, group in parts[1]), parts[2]])
)
defaults = st.tuples(st.sampled_from(["edge", "node", "graph"]), attributes).map(" ".join)
statements = st.recursive(
    st.lists(chains | defaults | st.sampled_from(["size=3", "// x\n", "/* { */", "a b", "]", "", "?"]), max_size=5).map(
        "; ".join
    ),
    lambda inner: st.lists(inner | inner.map(lambda text: f"subgraph s {{ {text} }}"), max_size=3).map("\n".join),
    max_leaves=6,
)
marks = st.lists(st.tuples(st.sampled_from(KEYS[:4]), st.sampled_from(VALUES[:7])), max_size=3).map(
    lambda pairs: "[" + ", ".join(f"{key}={value}" for key, value in pairs) + "]" if pairs else ""
)
sound = st.lists(
    st.tuples(st.permutations("abcdef"), arrows, marks, marks).map(
        lambda p: f"edge {p[3] or '[dir=forward]'} {p[0][0]} {p[1]} {p[0][1]} {p[2]}"
    ),
    min_size=1,
    max_size=3,
).map(lambda lines: "digraph { " + "\n".join(lines) + " }")
headers = st.sampled_from(
    [
        "digraph",
        "dag",
        "graph",
        "pdag",
        "strict digraph g",
        "// c\ndag",
        "Look:\n```dot\ndigraph",
        'g <- dagitty("dag',
        "g('dag",
        "",
    ]
)
drawn = st.tuples(headers, statements, st.sampled_from(["}", "}\n```\n", "')", '")', "", "} x"])).map(
    lambda parts: f"{parts[0]} {{ {parts[1]} {parts[2]}"
)


@pytest.fixture(scope="module")
def editor():
    """What the editor makes of a text: one process for all."""
    with subprocess.Popen(["node", str(READER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:

        def read(text, format=None):
            node.stdin.write(json.dumps({"text": text, "format": format}) + "\n")
            node.stdin.flush()
            return json.loads(node.stdout.readline())

        yield read
        node.stdin.close()


def plain(data):
    """Data as JavaScript holds it, which knows one kind of number."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(each) for each in data]
    return float(data) if type(data) in (int, float) else data


def agrees(editor, text, format=None):
    """Both read the same, or both refuse; Python reads what the editor writes of it."""
    theirs = editor(text, format)
    try:
        graph = formats.read_graph(text, format or "auto")
    except GraphError as error:
        assert "refused" in theirs, f"{text!r}: only Python refuses: {error}"
        return
    assert "graph" in theirs, f"{text!r}: only the editor refuses: {theirs}"
    assert plain(theirs["graph"]) == plain(formats.graph_to_data(graph)), repr(text)
    for written, form in zip(theirs["written"], formats.FORMATS, strict=True):
        assert plain(formats.graph_to_data(formats.read_graph(written))) == plain(theirs["graph"]), (
            f"{form}: {written!r}"
        )


@settings(max_examples=40, deadline=None)
@given(graph=graphs(), format=st.sampled_from(formats.FORMATS))
def test_the_editor_reads_what_python_writes(editor, graph, format):
    agrees(editor, formats.write_graph(graph, format))


@settings(max_examples=250, deadline=None)
@given(text=drawn | sound)
def test_drawn_texts_mean_the_same(editor, text):
    agrees(editor, text)


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), format=st.sampled_from(formats.FORMATS), data=st.data())
def test_damaged_texts_are_read_or_refused_alike(editor, graph, format, data):
    text = formats.write_graph(graph, format)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 12)))
    agrees(
        editor,
        text[:start]
        + data.draw(st.sampled_from(["", '"', "}", "]", ",", "null", "1.0", "->", "\\", "é"]))
        + text[stop:],
    )
