"""The demo's way, over HTTP and websocket, for one scene."""

import io

import demo
import pytest
import town_from_image as from_image
from PIL import Image

from csg.evaluation.runner import prompts


@pytest.fixture(scope="module")
def results(server):
    template = prompts.read(demo.WORKFLOW)
    seed = demo.scenes(demo.INTERVENTIONS, 1)[0]
    edits = [demo.Edit(seed, "weather=rainy"), demo.Edit(seed, "house=blue")]
    return demo.run_edits(server.client, template, edits, demo.ProgressBar(2, io.StringIO()))


def test_every_picture_comes_back_whole(results):
    for result in results:
        sizes = {name: Image.open(io.BytesIO(data)).size for name, data in result.pictures.items()}
        assert sizes["factual"] == sizes["counterfactual"] == sizes["exact"] == (256, 256)


def test_every_figure_is_measured(results):
    for result in results:
        assert all(result.figures[name] is not None for name in demo.FIGURES)


def test_the_house_turns_blue_and_the_rest_stays(results):
    figures = results[1].figures
    assert figures["effectiveness"] == 1.0 and figures["untouched"] >= 0.9
    assert figures["excess_error"] <= 1.0 and figures["reconstruction_error"] <= 0.3


def test_the_second_edit_reuses_the_scenes_inversion(server):
    template = prompts.read(demo.WORKFLOW)
    prompt = demo.filled(template, demo.Edit(demo.scenes(demo.INTERVENTIONS, 1)[0], "weather=rainy"))
    run = server.client.run(demo.filled(template, demo.Edit(demo.scenes(demo.INTERVENTIONS, 1)[0], "season=autumn")))
    assert prompts.ids(prompt)["Invert"] in run.cached


def test_from_the_picture_alone_to_the_judged_edit(server):
    """Extract, editor, do(), propagate, edit, effectiveness: nothing is written by hand."""
    template = prompts.read(from_image.WORKFLOW)
    found = from_image.run_scene(server.client, template, demo.scenes(demo.INTERVENTIONS, 1)[0], {"house": "blue"}, lambda progress: None)
    assert found["values_right"] >= 10 / 12 and found["graph_right"] == found["propagation_right"] == 1.0
    assert found["readers_effectiveness"] == 1.0
    assert 0 < max(found["seconds_by_question"].values()) <= 20
