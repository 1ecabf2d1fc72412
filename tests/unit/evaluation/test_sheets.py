"""Labelled grids: what is written where."""

import json

import pytest
import torch
from PIL import Image, ImageDraw

from csg.causal.counterfactual import propagate
from csg.causal.formats import read_json
from csg.evaluation import sheets

GRAPH = read_json(json.dumps({
    "version": 1, "base_prompt": "a dry street in sunshine",
    "concepts": [{"name": "weather", "value": "sunny", "values": {"sunny": "sunshine", "rainy": "rain", "snowy": "snow"}},
                 {"name": "ground", "value": "dry", "values": {"dry": "a dry street", "wet": "a wet street"}}],
    "edges": [{"cause": "weather", "effect": "ground", "status": "confirmed"}],
}))  # fmt: skip
RAIN, SNOW = propagate(GRAPH.do({"weather": "rainy"}), {"ground": "wet"}), propagate(GRAPH.do({"weather": "snowy"}), {})


@pytest.fixture
def written(monkeypatch):
    """Everything that is written: (text, x, y), in order."""
    texts, write = [], ImageDraw.ImageDraw.text

    def noted(pen, at, text, **options):
        texts.append((text, *at))
        write(pen, at, text, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return texts


def images(count):
    return torch.rand(count, 256, 256, 3)


def lines(written):
    return [text for text, *_ in written]


def test_titles_scores_and_changes_are_written(written):
    sheet = sheets.compare_sheet([images(1), images(2)], ["factual", "rain"], [RAIN], ["", "0.12"], 0)
    assert lines(written) == ["factual", "rain", "0.12", "3", "do(weather = rainy)   ground: dry -> wet"]
    assert sheet.shape[2] == 3 * (256 + sheets.GAP) + sheets.GAP and sheet.min() >= 0 and sheet.max() <= 1


def test_the_changes_of_every_counterfactual_are_written(written):
    sheets.compare_sheet([images(3)], ["factual", "rain", "snow"], [RAIN, SNOW], [], 0)
    assert lines(written)[-2:] == ["do(weather = rainy)   ground: dry -> wet", "do(weather = snowy)"]


def test_interventions_stand_across_and_methods_down(written):
    """Two methods, two interventions: a row per method under its name, each picture under what was done."""
    sheet = sheets.compare_sheet([images(2), images(2)], ["CSG", "DDPM inversion"], [RAIN, SNOW], ["1", "2", "3", "4"], 0)
    places = {text: (x, y) for text, x, y in written}
    assert lines(written).count("do(weather = rainy)") == lines(written).count("do(weather = snowy)") - 1 == 2
    assert places["CSG"][1] < places["1"][1] == places["2"][1] < places["DDPM inversion"][1] < places["3"][1] == places["4"][1]
    assert places["1"][0] == places["3"][0] < places["2"][0] == places["4"][0]
    assert sheet.shape[2] == 2 * (256 + sheets.GAP) + sheets.GAP


def test_a_sheet_that_is_no_table_is_laid_out_in_order(written):
    sheets.compare_sheet([images(2), images(2)], ["a", "b", "c", "d"], [RAIN, SNOW], [], 0)
    assert lines(written)[:4] == ["a", "b", "c", "d"]


def test_a_strip_of_masks_has_a_row_of_its_own_and_leaves_the_pictures_large(written):
    strip = torch.zeros(1, 290, 1104, 3)
    sheet = sheets.compare_sheet([images(2), strip, images(1)], ["factual", "rain", "masks", "exact"], [RAIN], ["", "", "three", "best"], 0)
    places = {text: (x, y) for text, x, y in written}
    assert places["factual"][1] == places["rain"][1] == places["exact"][1] < places["best"][1]
    assert "masks   three" in places and written[-1][0] == "do(weather = rainy)   ground: dry -> wet"
    assert sheet.shape[2] == 3 * (256 + sheets.GAP) + sheets.GAP
    height, width = sheet.shape[1:3]
    shown = (sheet[0] == 0).all(-1)
    assert shown.sum() == (width - 2 * sheets.GAP) * round(290 * (width - 2 * sheets.GAP) / 1104)
    assert shown[: height // 3].sum() == 0


def test_in_a_table_each_picture_is_scaled_into_its_cell(written):
    sheet = sheets.compare_sheet([images(2), torch.zeros(2, 290, 1104, 3)], ["CSG", "masks"], [RAIN, SNOW], [], 0)
    assert sheet.shape[2] == 2 * (256 + sheets.GAP) + sheets.GAP


def test_an_intervention_that_changes_nothing_says_so():
    assert sheets.legend(propagate(GRAPH.do({"weather": "sunny"}), {})) == "nothing changes"


@pytest.mark.parametrize("graph", [(600, 300), (900, 4000)], ids=str)
def test_an_audit_shows_both_pictures_the_graph_and_what_slipped(written, graph):
    drawing = Image.new("RGB", graph, (0, 0, 255))
    sheet = sheets.audit_sheet(images(1), torch.rand(1, 300, 200, 3), drawing, ["Effectiveness 0.50", "house must stay, but changed"])
    assert lines(written) == ["original", "edited", "Effectiveness 0.50", "house must stay, but changed"]
    assert sheet.shape[1] < 2000 and ((sheet[0] - torch.tensor([0.0, 0.0, 1.0])).abs().sum(-1) < 0.01).sum() > 100_000


@pytest.mark.parametrize(("shapes", "columns"), [
    ([(1, 2048, 2048, 3)], 64), ([(1, 1, 20_000, 3), (1, 20_000, 1, 3)], 0), ([(300, 8, 8, 3)], 0), ([(4, 3000, 3000, 3)], 2),
])  # fmt: skip
def test_a_sheet_is_bounded(shapes, columns):
    """No more columns than pictures; what would be too large is made smaller."""
    sheet = sheets.compare_sheet([torch.zeros(shape) for shape in shapes], [], [], [], columns)
    height, width = sheet.shape[1:3]
    assert max(height, width) <= sheets.LONGEST_SIDE and height * width < 1.5 * sheets.MAX_PIXELS


def test_a_picture_within_the_bounds_keeps_its_pixels():
    picture = torch.randint(0, 256, (1, 700, 900, 3)) / 255
    sheet = sheets.compare_sheet([picture], [], [], [], 0)
    assert torch.equal(sheet[0, sheets.GAP + sheets.TITLE + 14 :][:700, sheets.GAP :][:, :900], picture[0])


def test_more_pictures_than_a_sheet_can_show_are_refused_in_words():
    with pytest.raises(ValueError, match="in 2000 rows are too many for one sheet"):
        sheets.compare_sheet([torch.zeros(2000, 1, 1, 3)], [], [], [], 1)
