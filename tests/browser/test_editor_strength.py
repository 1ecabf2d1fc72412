"""How strongly each concept is edited, and words taken from the picture's: both in the details of a card."""

from tests.browser.drawing import WEATHER
from tests.browser.test_editor_intervene import STREET


def strength(drawing, name):
    concept = next(each for each in drawing.graph()["concepts"] if each["name"] == name)
    return concept.get("strength")


def test_a_strength_is_set_with_a_slider_and_stands_on_the_card(drawing):
    drawing.start(WEATHER)
    panel = drawing.details("ground")
    slider = panel.get_by_label("Strength of its edit")
    assert (slider.input_value(), strength(drawing, "ground")) == ("1", None)
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] - 3, "y": box["height"] / 2})
    assert strength(drawing, "ground") == 3
    slider = panel.get_by_label("Strength of its edit")
    slider.focus()
    for _ in range(10):
        drawing.page.keyboard.press("ArrowLeft")
    assert strength(drawing, "ground") == 2.5
    assert drawing.card("ground").locator(".strength").text_content().endswith("×2.5")
    drawing.picture("editor-strength")
    drawing.press("Undo")
    shown = drawing.card("ground").locator(".strength").count()
    assert (strength(drawing, "ground"), shown) == (None, 0), "one step, however long the slide"
    drawing.press("Intervene")
    assert panel.get_by_label("Strength of its edit").count() == 1


def test_words_of_the_picture_are_taken_by_a_click(drawing):
    drawing.start(STREET.replace("weather, a street lamp", "weather, a street lamp, a house with two windows"))
    panel = drawing.details("windows")
    drawing.picture("editor-take-words")
    panel.get_by_role("button", name="Use “windows” from the picture's words").click()
    windows = next(each for each in drawing.graph()["concepts"] if each["name"] == "windows")
    assert windows["values"] == {"dark": "windows", "lit": "lit windows"}
    drawing.card("windows").locator(".words").wait_for(state="detached")
