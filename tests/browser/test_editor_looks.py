"""How the editor looks and reads: themes, zoom, languages, and pictures of each state for the help pages."""

import json

import pytest

from csg.causal.editor_text import sample_text
from tests.browser.drawing import WEATHER

LUMINANCE = """element => {
    const context = document.createElement('canvas').getContext('2d');
    const of = colour => {
        context.fillStyle = '#000';
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => {
            const part = value / 255;
            return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
    };
    const light = colour => of(colour).reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const contrast = (one, other) => (Math.max(light(one), light(other)) + 0.05) / (Math.min(light(one), light(other)) + 0.05);
    const style = name => getComputedStyle(document.querySelector(name));
    const kept = name => style(`.csg-card[data-role=preserved] ${name}`);
    const [ground, ink] = [kept('.body').fill, kept('.chip[data-kind=other] text').fill];
    return {
        kept: contrast(`color-mix(in srgb, ${ink} ${100 * kept('.near').opacity}%, ${ground})`, ground),
        tool: contrast(style('.csg-choice button[aria-pressed=false]').color, style('.csg-choice').backgroundColor),
        other: contrast(style('[data-role=intervened] .chip[data-kind=other] text').fill, style('[data-role=intervened] .body').fill),
        title: contrast(style('.csg-card .title').fill, style('.csg-card .body').fill),
        chip: contrast(style('.csg-card .chip text').fill, style('.csg-card .body').fill),
        do: contrast(style('.csg-card[data-role=intervened] .badge text').fill, style('.csg-card[data-role=intervened] .badge rect').fill),
        may: contrast(style('.csg-card[data-role=descendant] .badge text').fill, style('.csg-card[data-role=descendant] .badge rect').fill),
        facts: contrast(style('.csg-editor .facts').color, style('.csg-editor').backgroundColor),
        notice: contrast(style('.csg-notice p').color, style('.csg-notice p').backgroundColor),
    };
}"""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_words_stand_out_in_comfyuis_themes(drawing, theme):
    drawing.editor.set_setting("Comfy.ColorPalette", theme)
    try:
        drawing.start(sample_text())
        drawing.page.wait_for_function("theme => document.querySelector('.csg-editor').dataset.theme === theme", arg=theme)
        drawing.press("Intervene")
        drawing.chip("weather", "rainy").click()
        drawing.at_rest()
        contrasts = drawing.root.evaluate(LUMINANCE)
        assert {name: round(value, 1) for name, value in contrasts.items() if value < 4.5} == {}
        drawing.picture(f"editor-intervene-{theme}")
    finally:
        drawing.editor.set_setting("Comfy.ColorPalette", "dark")


@pytest.mark.parametrize("zoom", [0.5, 2])
def test_it_reads_and_works_at_any_zoom_of_the_canvas(drawing, zoom):
    drawing.start(WEATHER)
    drawing.page.evaluate("""zoom => {
        const { canvas } = window.app;
        canvas.ds.scale = zoom;
        canvas.ds.offset = zoom > 1 ? [20, -60] : [60, 60];
        canvas.setDirty(true, true);
    }""", zoom)
    drawing.pulse(2)
    drawing.at_rest()
    shown = drawing.card("weather").locator(".far-name" if zoom < 1 else ".title")
    assert shown.is_visible()
    assert shown.bounding_box()["height"] >= 9, "pixels on the screen"
    drawing.press("Intervene")
    if zoom < 1:
        drawing.card("weather").locator(".body").click()
        drawing.page.locator(".csg-panel").get_by_role("button", name="rainy").click()
    else:
        drawing.chip("weather", "rainy").click()
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    drawing.editor.screenshot(f"editor-zoom-{zoom}")


@pytest.mark.parametrize(
    ("language", "words"), [("zh", ("因果图编辑器", "编辑", "干预")), ("ja", ("因果グラフエディター", "編集", "介入"))]
)
def test_it_speaks_the_language_of_the_page(drawing, language, words):
    drawing.editor.set_setting("Comfy.Locale", language)
    try:
        drawing.editor.open()
        drawing.start(WEATHER)
        title = drawing.page.evaluate("() => window.app.graph.nodes[0].title")
        assert (title, *drawing.page.locator(".csg-choice.modes button").all_inner_texts()) == words
        drawing.picture(f"editor-{language}")
    finally:
        drawing.editor.set_setting("Comfy.Locale", "en")
        drawing.editor.open()


def test_the_tools_of_a_narrow_node_stand_in_two_lines(drawing):
    drawing.start(WEATHER)
    resize = "const { canvas, graph } = window.app; graph.nodes[0].setSize([350, 460]); canvas.setDirty(true, true);"
    drawing.page.evaluate(f"() => {{ {resize} }}")
    drawing.page.wait_for_function("() => document.querySelector('.csg-editor').offsetWidth < 400")
    drawing.at_rest()
    bar = drawing.page.locator(".csg-toolbar").evaluate("bar => [bar.scrollWidth - bar.clientWidth, bar.offsetHeight]")
    assert bar[0] <= 0 and bar[1] < 90
    drawing.picture("editor-narrow")
    drawing.editor.set_up_nodes([])


def test_an_outcome_is_told_whole_and_the_verdict_from_afar_too(drawing, mask_file):
    person = {"name": "person", "value": "walking", "values": {"walking": "", "umbrella": ""}}
    drawing.start(json.dumps({"concepts": [person, {"name": "a long concept name", "value": "x"}]}), ["CSG_Propagate"])
    told = {"person": {"factual": "walking", "counterfactual": "umbrella", "role": "changed", "reason": "it rains"}}
    drawing.report(("CSG_Propagate", {"csg_counterfactual": [json.dumps(told)], "csg_masks": [{"concept": "person", "image": mask_file}],
                                      "csg_effectiveness": [{"concept": "person", "answer": False}]}))
    card = drawing.card("person")
    assert card.locator(".outcome").text_content() == "walking → umbrella"
    lines, body, thumb = (card.locator(part).bounding_box() for part in (".outcome", ".body", ".thumb .frame"))
    assert lines["x"] + lines["width"] <= thumb["x"], "the words end before the mask begins"
    reason = card.locator(".reason").bounding_box()
    assert lines["y"] + lines["height"] <= reason["y"] + 4 and reason["y"] + reason["height"] <= body["y"] + body["height"]
    drawing.page.evaluate("() => { window.app.canvas.ds.scale = 0.5; window.app.canvas.setDirty(true, true); }")
    card.locator(".far-tick[data-good=false]").wait_for()
    name, tick = (card.locator(part).bounding_box() for part in (".far-name", ".far-tick circle"))
    assert name["x"] + name["width"] <= tick["x"]
    drawing.page.evaluate("() => { window.app.canvas.ds.scale = 0.25; window.app.canvas.setDirty(true, true); }")
    alone = drawing.card("a long concept name").locator(".far-alone")
    alone.wait_for()
    assert alone.bounding_box()["width"] <= drawing.card("a long concept name").locator(".body").bounding_box()["width"]


def test_what_stays_as_it_is_steps_back_but_lets_no_line_through(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.at_rest()
    style = "(element) => Number(getComputedStyle(element).opacity)"
    house = drawing.card("house")
    assert house.evaluate(style) == 1 and house.locator(".body").evaluate(style) == 1
    assert house.locator(".near").evaluate(style) < 0.8


def test_what_a_screen_reader_finds(drawing):
    drawing.start(WEATHER)
    unnamed = drawing.root.evaluate("""root => [...root.querySelectorAll('button, input, textarea, [role=button], [tabindex]')]
        .filter(element => !(element.getAttribute('aria-label') || element.textContent.trim()))
        .map(element => element.outerHTML.slice(0, 120))""")
    assert unnamed == []
    assert drawing.root.get_by_role("toolbar", name="Tools").count() == 1
    assert drawing.root.get_by_role("group", name="Causal graph").count() == 1
    drawing.press("Intervene")
    assert drawing.root.get_by_role("button", name="Intervene", exact=True).get_attribute("aria-pressed") == "true"
    drawing.chip("weather", "rainy").click()
    assert drawing.said() == "do(weather = rainy)"
    assert "Intervened: set to rainy." in drawing.card("weather").get_attribute("aria-label")
    assert "May change." in drawing.card("ground").get_attribute("aria-label")


def test_pictures_of_each_state(drawing, mask_file):
    drawing.start(sample_text(), ["CSG_Propagate"])
    drawing.page.locator(".csg-status").evaluate("status => { status.textContent = ''; }")
    drawing.picture("editor-edit")
    drawing.details("weather")
    drawing.picture("editor-panel")
    drawing.press("Details")
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.at_rest()
    drawing.picture("editor-intervene")
    drawing.report(("CSG_Propagate", {"csg_counterfactual": [json.dumps({
        "weather": {"factual": "sunny", "counterfactual": "rainy", "role": "intervened", "reason": ""},
        "ground": {"factual": "dry", "counterfactual": "wet", "role": "changed", "reason": "rain wets the ground"}})]}),
        ("CSG_Propagate", {"csg_masks": [{"concept": name, "image": mask_file} for name in ("weather", "ground")],
                           "csg_effectiveness": [{"concept": name, "answer": True} for name in ("weather", "ground")]}))  # fmt: skip
    drawing.card("ground").locator(".thumb image").wait_for(state="attached")
    drawing.at_rest()
    drawing.picture("editor-result")
    drawing.press("Text")
    drawing.page.locator(".csg-text textarea").wait_for()
    drawing.picture("editor-text")
    assert json.loads(sample_text())["concepts"][0]["name"] == drawing.names()[0]
