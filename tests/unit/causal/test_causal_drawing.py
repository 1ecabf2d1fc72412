"""Drawings: where things stand, what is shown in which colour, and that nothing breaks them."""

import math

import pytest
from hypothesis import given, settings
from PIL import ImageChops

from csg.causal.counterfactual import propagate
from csg.causal.drawing import CUT, GOOD, INK, MAX_DASHES, PAPER, SLIPPED, dashes, draw, part
from csg.causal.graph import CausalGraph, Concept, Edge
from csg.causal.layout import lay_out
from csg.causal.lettering import fitted, width_of
from csg.causal.palette import PALETTE, concept_hex, concept_rgb
from tests.unit.causal.random_graphs import graphs, plain_graphs

BOX, GAP = (200.0, 60.0), (90.0, 30.0)
VALUES = {"a": "a", "b": "b"}


def chain(*edges, **interventions):
    concepts = [Concept(name, "a", VALUES) for name in ("root", "middle", "leaf", "apart")]
    return CausalGraph("", concepts, [Edge(*edge) for edge in edges], interventions)


def apart(centres):
    centres = list(centres)
    return all(
        abs(x - other_x) >= BOX[0] or abs(y - other_y) >= BOX[1]
        for i, (x, y) in enumerate(centres)
        for other_x, other_y in centres[:i]
    )


@given(plain_graphs())
def test_layers_keep_boxes_apart_and_causes_on_the_left(graph):
    centres = lay_out(graph, BOX, GAP).centres
    assert set(centres) == set(graph.names)
    assert apart(centres.values())
    ahead = graph.forward_edges()
    assert all(centres[edge.cause][0] + BOX[0] < centres[edge.effect][0] for edge in ahead)
    assert all(centres[edge.effect][0] + BOX[0] < centres[edge.cause][0] for edge in graph.edges if edge not in ahead)


@given(plain_graphs())
def test_edges_run_around_the_boxes_of_others(graph):
    layout = lay_out(graph, BOX, GAP)
    for path in layout.paths.values():
        for x, y in path:
            assert not any(
                abs(x - centre_x) < BOX[0] / 2 - 1e-6 and abs(y - centre_y) < BOX[1] / 2 - 1e-6
                for centre_x, centre_y in layout.centres.values()
            )


def test_edges_start_at_the_cause_and_end_at_the_effect_in_ports_of_their_own():
    graph = chain(("root", "leaf"), ("middle", "leaf"), ("apart", "leaf"))
    layout = lay_out(graph, BOX, GAP)
    ends = [path[-1] for path in layout.paths.values()]
    left_side = layout.centres["leaf"][0] - BOX[0] / 2
    assert all(math.isclose(x, left_side) for x, _ in ends)
    assert len({y for _, y in ends}) == 3


def test_a_proposed_edge_back_runs_from_right_to_left_around_the_boxes_between_beside_the_edge_there():
    names = ["root", "middle", "leaf"]
    ways = [Edge("root", "middle"), Edge("middle", "leaf"), Edge("leaf", "root", status="proposed")]
    ways.append(Edge("leaf", "middle", status="proposed"))
    graph = CausalGraph("", [Concept(name, "a", VALUES) for name in names], ways)
    layout = lay_out(graph, BOX, GAP)
    paths = layout.paths
    back = paths["leaf", "root"]
    xs = [x for x, _ in back]
    assert xs == sorted(xs, reverse=True)
    assert math.isclose(xs[0], layout.centres["leaf"][0] - BOX[0] / 2)
    assert math.isclose(xs[-1], layout.centres["root"][0] + BOX[0] / 2)
    there, again = paths["middle", "leaf"], paths["leaf", "middle"]
    assert min(math.dist(one, other) for one in there for other in again) > 8


def test_edges_that_run_around_all_boxes_are_inside_the_picture():
    names = [f"c{i}" for i in range(5)]
    chained = [Edge(one, other) for one, other in zip(names, names[1:])]
    jumps = [Edge(names[0], names[i]) for i in (2, 3, 4)] + [Edge(names[i], names[4]) for i in (1, 2)]
    picture = draw(CausalGraph("", [Concept(name, "a") for name in names], chained + jumps))
    width, height = picture.size
    frame = [picture.crop((0, 0, width, 20)), picture.crop((0, height - 20, width, height))]
    assert all(set(colours(side)) == {PAPER} for side in frame)


def test_a_tangle_that_can_be_undone_is_undone():
    names = ["a", "b", "c", "d"]
    graph = CausalGraph("", [Concept(n, "x") for n in names], [Edge("a", "d"), Edge("b", "c")])
    centres = lay_out(graph, BOX, GAP).centres
    assert (centres["a"][1] < centres["b"][1]) == (centres["d"][1] < centres["c"][1])


def test_stored_positions_are_kept_where_boxes_have_room():
    places = {"p": (0.0, 0.0), "q": (400.0, 10.0), "r": (-300.0, 200.0)}
    graph = CausalGraph("", [Concept(name, "x", position=place) for name, place in places.items()])
    assert lay_out(graph, BOX, GAP).centres == places


def test_stored_positions_that_are_too_tight_are_spread_evenly():
    graph = CausalGraph("", [Concept(str(i), "x", position=(100 * i, 10 * i)) for i in range(4)])
    centres = lay_out(graph, BOX, GAP).centres
    assert apart(centres.values())
    stretch = centres["1"][0] / 100
    assert stretch > 1
    assert all(math.isclose(centres[str(i)][1], 10 * i * stretch) for i in range(4))


@pytest.mark.parametrize("place", [None, (1e308, -1e308)])
def test_without_usable_positions_the_layers_are_used(place):
    concepts = [Concept("p", "x", position=(0, 0)), Concept("q", "x", position=place)]
    graph = CausalGraph("", concepts, [Edge("q", "p")])
    centres = lay_out(graph, BOX, GAP).centres
    assert centres["q"][0] < centres["p"][0] < 1e3


def colours(image):
    return {colour: count for count, colour in image.getcolors(image.width * image.height)}


def test_a_plain_graph_shows_every_concept_in_its_colour():
    shown = colours(draw(chain(("root", "middle"))))
    assert all(concept_rgb(index) in shown for index in range(4))
    assert max(shown, key=shown.get) == PAPER
    assert CUT not in shown


def test_what_is_preserved_fades_and_the_rest_stands_out():
    graph = chain(("root", "middle"), ("middle", "leaf"), middle="b")
    shown = colours(draw(propagate(graph, {"leaf": "b"})))
    root, middle, leaf, apart_ = (concept_rgb(index) in shown for index in range(4))
    assert middle and leaf
    assert not root and not apart_


def test_verdicts_are_ticks_and_crosses_and_what_slipped_stands_out():
    counterfactual = propagate(chain(("root", "middle"), root="b"), {"middle": "b"})
    plain, judged = draw(counterfactual), draw(counterfactual, {"root": True, "apart": False})
    good = draw(counterfactual, {"root": True, "apart": True})
    shown = [(near(image, GOOD) > 50, near(image, SLIPPED) > 50) for image in (plain, judged, good)]
    assert shown == [(False, False), (True, True), (True, False)] and plain.size == judged.size
    assert concept_rgb(3) in colours(judged) and concept_rgb(3) not in colours(good), "what slipped does not fade"


def near(image, colour):
    """How many pixels are nearly of a colour."""
    return sum(count for shown, count in colours(image).items() if math.dist(shown, colour) < 30)


def test_edges_into_an_intervened_concept_are_drawn_cut():
    with_cause = draw(chain(("root", "middle"), middle="b"))
    without = draw(chain(("root", "middle"), root="b"))
    assert near(with_cause, CUT) > 20
    assert near(without, CUT) == 0


def test_proposed_edges_are_dashed():
    concepts = [Concept("p", "a", position=(0, 0)), Concept("q", "a", position=(600, 0))]
    empty, confirmed, proposed = (
        draw(CausalGraph("", concepts, edges)) for edges in ([], [Edge("p", "q")], [Edge("p", "q", status="proposed")])
    )

    def drawn(image):
        return sum(count for value, count in colours(ImageChops.difference(image, empty)).items() if sum(value) > 150)

    assert drawn(confirmed) > 300
    assert 0.35 < drawn(proposed) / drawn(confirmed) < 0.8


def test_an_unsettled_intervention_is_drawn_as_an_open_question():
    graph = chain(("root", "middle"), root="b")
    assert draw(graph).tobytes() != draw(propagate(graph, {})).tobytes()


def test_an_edge_that_carries_the_effect_is_drawn_in_ink():
    graph = chain(("root", "middle"), root="b")
    moved, kept = (near(draw(propagate(graph, {"middle": value})), INK) for value in "ba")
    assert moved > kept + 100


@settings(max_examples=6)
@given(graphs())
def test_every_graph_can_be_drawn_and_always_alike(graph):
    image = draw(graph)
    assert image.mode == "RGB" and max(image.size) <= 4096
    assert image.tobytes() == draw(graph).tobytes()


@pytest.mark.parametrize("step", [1, 7])
def test_the_largest_graphs_stay_within_bounds(step):
    names = [f"concept {i}" for i in range(64)]
    pairs = [Edge(names[i], names[j]) for j in range(64) for i in range(max(0, j - 64 // step), j, step)]
    image = draw(CausalGraph("", [Concept(name, "a", VALUES) for name in names], pairs, {names[3]: "b"}))
    assert max(image.size) <= 4096


def test_text_is_cut_to_its_room():
    assert fitted("short", 15, 200) == "short"
    cut = fitted("a value that is much too long for its box", 15, 120)
    assert cut.endswith("...") and width_of(cut, 15) <= 120
    assert "\n" not in fitted("two\nlines", 15, 200)


def test_parts_and_dashes_of_a_path():
    path = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)]
    assert part(path, 5, 15) == [(5.0, 0.0), (10.0, 0.0), (10.0, 5.0)]
    assert part(path, -5, 90) == path and part(path, 3, 1) == [(3.0, 0.0), (3.0, 0.0)]
    assert dashes(path, 3, 2) == [[(0, 0), (3, 0)], [(5, 0), (8, 0)], [(10, 0), (10, 3)], [(10, 5), (10, 8)]]
    assert dashes(path, 7, 1) == [[(0, 0), (7, 0)], [(8, 0), (10, 0), (10, 5)], [(10, 6), (10, 10)]]


@pytest.mark.parametrize("apart", [300.0, 990_000.0])
def test_dashes_are_bounded_by_the_picture_not_by_the_units_of_the_graph(monkeypatch, apart):
    """Positions come from strangers' files: a graph drawn in millimetres or light years costs the same."""
    drawn = []
    monkeypatch.setattr("csg.causal.drawing.dashes", lambda *args: drawn.extend(pieces := dashes(*args)) or pieces)
    concepts = [Concept(f"c{i}", "a", VALUES, position=(apart * (i % 7), apart * (i // 7))) for i in range(49)]
    edges = [Edge(one.name, other.name, status="proposed") for one in concepts for other in concepts if one is not other]
    picture = draw(CausalGraph("", concepts, edges))
    assert max(picture.size) <= 4096
    assert len(edges) < len(drawn) < 1.1 * MAX_DASHES + len(edges)


def oklab(rgb):
    red, green, blue = rgb
    cones = (
        0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue,
        0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue,
        0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue,
    )
    long, middle, short = (max(cone, 0.0) ** (1 / 3) for cone in cones)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def linear(index):
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (n / 255 for n in concept_rgb(index))]


def nearest(colours):
    return min(math.dist(one, other) for i, one in enumerate(colours) for other in colours[:i])


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


def test_64_colours_can_be_told_apart():
    assert len(set(PALETTE)) == 64
    assert nearest([oklab(linear(index)) for index in range(64)]) > 0.05
    assert concept_hex(64) == concept_hex(0)


@pytest.mark.parametrize("blindness", [DEUTERANOPIA, PROTANOPIA])
def test_the_first_eight_can_be_told_apart_by_the_colour_blind(blindness):
    seen = [[sum(w * c for w, c in zip(row, linear(i), strict=True)) for row in blindness] for i in range(8)]
    assert nearest([oklab(rgb) for rgb in seen]) > 0.06
