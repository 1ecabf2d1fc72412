"""Proposed edges on the page: drawn wherever they point, confirmed only where they close no cycle."""

import json
from pathlib import Path

import pytest

CIRCLE = json.loads(
    (Path(__file__).resolve().parents[1] / "fixtures" / "graphs" / "circle.json").read_text(encoding="utf-8")
)
CIRCLE["interventions"] = {}
BACK = ("puddles", "clouds")
MIDDLE = "path => { const { x, y } = path.getPointAtLength(path.getTotalLength() / 2); return [x, y]; }"
DASHES = "lines => lines.map(line => getComputedStyle(line).strokeDasharray)"


def loose(graph):
    """The same graph, for the editor to lay out."""
    return graph | {
        "concepts": [{key: value for key, value in c.items() if key != "position"} for c in graph["concepts"]]
    }


def statuses(drawing):
    return {(edge["cause"], edge["effect"]): edge["status"] for edge in drawing.graph()["edges"]}


@pytest.mark.parametrize("arranged", [lambda graph: graph, loose], ids=["placed", "laid-out"])
def test_a_proposed_edge_that_closes_a_cycle_is_drawn_dashed_beside_the_one_that_it_contradicts(drawing, arranged):
    drawing.start(json.dumps(arranged(CIRCLE)))
    lines = drawing.page.locator(".csg-edge[data-status=proposed] .line")
    assert lines.count() == 2 and set(lines.evaluate_all(DASHES)) == {"5px, 6px"}
    assert set(drawing.page.locator(".csg-edge[data-status=confirmed] .line").evaluate_all(DASHES)) == {"none"}
    (x, y), (u, v) = (
        drawing.edge(*ends).locator(".hit").evaluate(MIDDLE) for ends in (("rain", "puddles"), ("puddles", "rain"))
    )
    assert (x - u) ** 2 + (y - v) ** 2 > 144, "pixels between the two at their middle, squared"
    assert "Effects: clouds (proposed), rain (proposed)." in drawing.card("puddles").get_attribute("aria-label")


def test_an_edge_tells_the_share_of_readings_that_draw_it(drawing):
    shared = [{**edge, "share": 0.4} if (edge["cause"], edge["effect"]) == BACK else edge for edge in CIRCLE["edges"]]
    drawing.start(json.dumps(CIRCLE | {"edges": shared}))
    title = drawing.edge(*BACK).locator("title").first.text_content()
    assert "Proposed" in title and "In 40 % of the readings." in title
    assert "readings" not in drawing.edge("rain", "puddles").locator("title").first.text_content()
    assert {edge.get("share") for edge in drawing.graph()["edges"]} == {0.4, None}, "an edit keeps what it does not know"


def test_confirming_an_edge_that_closes_a_cycle_is_refused_with_its_path_until_another_edge_goes(drawing):
    drawing.start(json.dumps(CIRCLE))
    drawing.point_at(*BACK)
    drawing.edge(*BACK).locator(".choices .confirm").click()
    refused = drawing.page.locator(".csg-edge.refused")
    assert "close a cycle: puddles → clouds → rain → puddles" in drawing.said()
    assert drawing.page.locator(".csg-status[data-kind=refused]").is_visible() and refused.count() == 3
    assert statuses(drawing)[BACK] == "proposed"
    drawing.picture("editor-cycle-refused")
    drawing.card("clouds").locator(".body").click()
    assert drawing.said() == "" and refused.count() == 0, "what was read is put away"
    drawing.press("Confirm all")
    drawing.page.locator(".csg-status[data-kind=refused]").wait_for()
    assert "Confirmed" not in drawing.said() and "close a cycle" in drawing.said()
    drawing.edge("clouds", "rain").focus()
    drawing.page.keyboard.press("Delete")
    drawing.edge(*BACK).focus()
    drawing.page.keyboard.press("Enter")
    assert drawing.said() == "Confirmed: puddles causes clouds."
    assert statuses(drawing) == {("rain", "puddles"): "confirmed", BACK: "confirmed", ("puddles", "rain"): "proposed"}


def test_confirming_all_confirms_what_it_can_and_shows_what_it_cannot(drawing):
    fresh = {"cause": "clouds", "effect": "puddles", "status": "proposed"}
    drawing.start(json.dumps(CIRCLE | {"edges": [*CIRCLE["edges"], fresh]}))
    drawing.press("Confirm all")
    drawing.page.locator(".csg-status[data-kind=refused]").wait_for()
    assert drawing.said().startswith("Confirmed edges: 1. This would close a cycle: puddles → clouds → puddles.")
    assert statuses(drawing)["clouds", "puddles"] == "confirmed" and statuses(drawing)[BACK] == "proposed"
