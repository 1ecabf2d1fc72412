"""A real run, from the picture alone, seen on the graph editor's cards."""

import json

from tests.browser.drawing import PLACES, Drawing

WORKFLOW = "town_from_image"
# What each card shows of the run, read from the page; a mask counts when its picture could be drawn.
SHOWN = """async () => {
    const text = (card, part) => [...card.querySelectorAll(part)].map(each => each.textContent).join(' ');
    const drawn = async image => {
        const picture = new Image();
        picture.src = image.getAttribute('href');
        await picture.decode();
        return picture.naturalWidth > 0;
    };
    const told = [...document.querySelectorAll('.csg-card')].filter(card => card.querySelector('.result')).map(async card => {
        const image = card.querySelector('.thumb image'), tick = card.querySelector('.tick');
        return [card.getAttribute('aria-label').split(':')[0], {
            outcome: text(card, '.outcome'), reason: text(card, '.reason'), mask: image ? await drawn(image) : false,
            seen: tick && tick.dataset.good === 'true', stale: card.querySelector('.result').dataset.stale === 'true',
        }];
    });
    return Object.fromEntries(await Promise.all(told));
}"""


def told(server, run):
    """What the nodes of a run reported, by the name of what they report."""
    outputs = server.client.get(f"/history/{run}")[run]["outputs"].values()
    return {name: value for output in outputs for name, value in output.items() if name.startswith("csg_")}


def expected(server, run):
    """What the cards should show: every concept that was to change, and those that stay though a cause was changed."""
    reports = told(server, run)
    changes = json.loads(reports["csg_counterfactual"][0])
    seen = {verdict["concept"]: verdict["answer"] for verdict in reports["csg_effectiveness"]}
    masked = {mask["concept"] for mask in reports["csg_masks"]}

    def card(name, change):
        old, new = change["factual"], change["counterfactual"]
        outcome = f"stays {old}" if old == new else f"{old} → {new}"
        return {
            "outcome": outcome,
            "reason": change["reason"],
            "mask": name in masked,
            "seen": seen.get(name),
            "stale": False,
        }

    return {name: card(name, change) for name, change in changes.items() if change["role"] != "preserved"}


def close_up(editor):
    """The graph editor at its own size in the middle of the page."""
    editor.page.evaluate("""() => {
        const { canvas, graph } = window.app;
        const node = graph.nodes.find(node => node.type === 'CSG_GraphEditor');
        canvas.ds.scale = 1;
        canvas.ds.offset = [240 - node.pos[0], 220 - node.pos[1]];
        canvas.setDirty(true, true);
    }""")
    editor.page.locator(".csg-editor").wait_for()
    editor.at_rest(PLACES)


def run(drawing):
    """Run the workflow; the run's id, once the cards show it."""
    end = drawing.editor.queue(timeout=600)
    assert end["end"] == "execution_success", end
    drawing.page.locator(".csg-card .tick").first.wait_for(state="attached")
    drawing.page.locator(".csg-card .thumb image").first.wait_for(state="attached")
    drawing.pulse(2)
    return end["detail"]["prompt_id"]


def test_a_picture_is_read_edited_and_judged_and_each_card_says_so(drawing, server):
    drawing.editor.open_template(WORKFLOW)
    close_up(drawing.editor)
    wanted = expected(server, run(drawing))
    assert any(card["seen"] is not None and card["mask"] for card in wanted.values()), wanted
    assert drawing.page.evaluate(SHOWN) == wanted
    drawing.picture("editor-town-run")
    drawing.editor.screenshot("editor_town_run")
    name, new = next((each, card["outcome"].split(" → ")[1]) for each, card in wanted.items() if card["mask"])
    drawing.press("Intervene")
    drawing.chip(name, new).click()
    assert {card["stale"] for card in drawing.page.evaluate(SHOWN).values()} == {True}, "the graph has changed"
    drawing.at_rest()
    drawing.picture("editor-town-stale")
    drawing.press("Undo")
    assert drawing.page.evaluate(SHOWN) == wanted


def test_a_run_that_the_server_remembers_is_shown_on_a_new_page(editor, server):
    """All of it is told at once then, the graph not first."""
    drawing = Drawing(editor)
    editor.open_template(WORKFLOW)
    wanted = expected(server, run(drawing))
    assert drawing.page.evaluate(SHOWN) == wanted
