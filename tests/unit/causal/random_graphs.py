"""Random causal graphs for property tests, and the same graphs in networkx."""

from dataclasses import replace

import networkx as nx
from hypothesis import strategies as st

from csg.causal.graph import CausalGraph, Concept, Edge

HOSTILE = [
    '"',
    "\\",
    '\\"',
    "end\\",
    "a\nb",
    "\t",
    "->",
    "}",
    "] -> {",
    "//",
    "/* */",
    "#",
    "=",
    ";",
    "\x7f",
    "\x00",
    "\ud800",
    "naïve 雪 🌧",
    "</script>",
    "%s{0}",
    "null",
    "dag {",
    "csg",
    "graph",
    "node",
    " padded ",
    "'",
    "&quot;",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8))
labels = texts.filter(lambda text: text.strip() != "")
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
extras = st.dictionaries(texts.map(lambda key: "x-" + key), json_values, max_size=2)


@st.composite
def concepts(draw, name):
    values = draw(st.dictionaries(labels, texts, min_size=1, max_size=4))
    return Concept(
        name=name,
        value=draw(st.sampled_from(list(values))),
        values=values,
        scope=draw(st.sampled_from(["local", "global"])),
        description=draw(texts),
        position=draw(st.none() | st.tuples(numbers, numbers)),
        extra=draw(extras),
        strength=draw(st.sampled_from([1.0, 0.0, 0.5, 1.2, 3.0])),
    )


@st.composite
def edges(draw, names):
    """Edges of which the confirmed follow a hidden order of the names; proposed ones run anywhere."""
    order = draw(st.permutations(names))
    pairs = [(cause, effect) for cause in order for effect in order if cause != effect]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=16)) if pairs else []
    ahead, back = st.sampled_from(["confirmed", "proposed"]), st.just("proposed")
    return [
        Edge(*pair, draw(texts), draw(ahead if order.index(pair[0]) < order.index(pair[1]) else back), draw(extras))
        for pair in chosen
    ]


@st.composite
def graphs(draw, min_size=0):
    names = draw(st.lists(labels, unique=True, min_size=min_size, max_size=8))
    made = [draw(concepts(name)) for name in names]
    intervened = draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
    return CausalGraph(
        base_prompt=draw(texts),
        concepts=made,
        edges=draw(edges(names)),
        interventions={concept.name: draw(st.sampled_from(list(concept.values))) for concept in intervened},
        extra=draw(extras),
    )


@st.composite
def plain_graphs(draw, min_size=1):
    """Graphs with harmless names and no positions, for tests of structure alone; some proposed edges close cycles."""
    names = [f"concept {i}" for i in range(draw(st.integers(min_size, 10)))]
    order = draw(st.permutations(names))
    pairs = [(cause, effect) for i, cause in enumerate(order) for effect in order[i + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    proposed = draw(st.sets(st.sampled_from(chosen), max_size=4)) if chosen else set()
    back = draw(st.sets(st.sampled_from([pair[::-1] for pair in pairs]), max_size=4)) if pairs else set()
    statuses = {
        pair: "proposed" if pair in proposed | back else "confirmed"
        for pair in draw(st.permutations([*chosen, *sorted(back)]))
    }
    pending = draw(st.dictionaries(st.sampled_from(names), st.sampled_from("ab"), max_size=3))
    return CausalGraph(
        concepts=[Concept(name, "a", {"a": "a", "b": "b"}) for name in names],
        edges=[Edge(*pair, status=status) for pair, status in statuses.items()],
        interventions=pending,
    )


def confirmed(graph):
    """The graph's confirmed edges as a networkx digraph."""
    digraph = nx.DiGraph([(edge.cause, edge.effect) for edge in graph.edges if edge.status == "confirmed"])
    digraph.add_nodes_from(graph.names)
    return digraph


def observed(graph, **values):
    """The graph of a picture in which these concepts have other values."""
    return replace(graph, concepts=tuple(replace(c, value=values.get(c.name, c.value)) for c in graph.concepts))
