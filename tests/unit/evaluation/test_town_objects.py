"""Objects with their traces: what is judged where, on pictures that the world itself draws."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import town_lab
import town_objects
from town_methods import ALL, CSG, INTERVENED

from csg.images import to_array, to_tensor
from csg.town import score, world

SCENES = range(80_000_000, 80_000_040)
LOSES = next(s for s in SCENES if world.factual(s)["car"] != "none" and world.factual(s)["time"] == "night")
GETS = next(s for s in SCENES if world.factual(s)["car"] == "none" and world.factual(s)["time"] == "night")
BY_DAY = next(s for s in SCENES if world.factual(s)["car"] != "none" and world.factual(s)["time"] == "day")


def figures(scene, picture=None, **patches):
    """The figures of the exact counterfactual, in which some parts are still, or again, as before."""
    do = town_objects.intervention(scene)
    known = score.truth(scene, do)
    picture = np.array(known.exact if picture is None else picture(known))
    for name in patches:
        where = town_objects.parts(scene, do)[name]
        picture[where] = known.factual[where]
    return town_objects.measured(picture, scene, do)


@pytest.mark.parametrize("scene", [LOSES, GETS])
def test_the_exact_counterfactual_follows_in_every_part_and_the_picture_before_in_none(scene):
    right, wrong = figures(scene), figures(scene, lambda known: known.factual)
    parts = ("read", "thing", "shadow", "beam")
    assert all(right[name] == 1 for name in parts) and all(wrong[name] == 0 for name in parts)
    assert right["psnr_place"] > 90 > 30 > wrong["psnr_place"]


@pytest.mark.parametrize("scene", [LOSES, GETS])
@pytest.mark.parametrize("left", ["thing", "shadow", "beam"])
def test_a_part_that_was_left_is_counted_alone(scene, left):
    found = figures(scene, **{left: True})
    assert all(found[name] == float(name != left) for name in ("thing", "shadow", "beam"))
    assert found["psnr_place"] < figures(scene)["psnr_place"]


def test_parts_do_not_overlap_and_a_car_by_day_has_no_beam():
    for scene in (LOSES, GETS, BY_DAY):
        places = list(town_objects.parts(scene, town_objects.intervention(scene)).values())
        assert np.sum(places, 0).max() == 1 and places[0].sum() > 3 * places[1].sum() > 30 * town_objects.FEWEST
    assert figures(BY_DAY)["beam"] is None


def test_only_the_edge_is_missing_without_the_edge():
    known = town_objects.compared()
    changed = {name for name, value in vars(known[town_objects.WITHOUT]).items() if value != getattr(known[CSG], name)}
    assert changed == {"concepts"} and (known[CSG].concepts, known[town_objects.WITHOUT].concepts) == (ALL, INTERVENED)
    assert world.descendants(["car"]) == {"headlights"}


def test_tables_are_of_the_scenes_that_all_have_done_and_say_how_many():
    def line(scene, method, beam):
        base = {"scene": scene, "do": "car=none", "settings": method.settings, "machine": "a machine", "versions": "1", "night": True}
        return base | {"read": 1.0, "thing": 1.0, "shadow": 0.0, "beam": beam, "psnr_place": 20.0, "excess_error": 0.5}

    known = town_objects.compared()
    lines = [line(s, m, float(label == CSG)) for s in (1, 2) for label, m in known.items()] + [line(3, known[CSG], 0.0)]
    text = town_objects.report(lines, "the command")
    rows = {cells[1].strip(): cells[2:-1] for cells in (row.split("|") for row in text.splitlines()) if len(cells) > 3}
    assert "2 held-out scenes" in text and "2 scenes, 2 by night" in text and "`the command`" in text and "put there" not in text
    assert rows[CSG][3].strip().startswith("1.00") and rows[town_objects.WITHOUT][3].strip().startswith("0.00")


class Lab:
    """A painter without a model: every edit is the exact counterfactual, but the beam is never touched without the edge."""

    machine, versions, edits = "a machine", "1", []

    def __init__(self, painter):
        assert painter == "a painter"

    def forget(self):
        pass

    def round_trip(self, picture):
        return to_tensor(picture)

    def edited(self, image, change, method, seed):
        self.edits.append((change.intervened, method.concepts, seed))
        known = score.truth(LOSES, town_objects.intervention(LOSES))
        assert (to_array(image)[0] == known.factual).all()
        picture = np.array(known.exact)
        if method.concepts == INTERVENED:
            where = town_objects.parts(LOSES, town_objects.intervention(LOSES))["beam"]
            picture[where] = known.factual[where]
        return town_lab.Edited(to_tensor(picture), None, 1.0, 1.0)


def test_a_run_measures_what_is_missing_and_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(town_lab, "Lab", Lab)
    monkeypatch.setattr(town_objects, "opened", lambda _: "a painter")
    monkeypatch.setattr(town_objects, "digest", lambda _: "weights")
    options = SimpleNamespace(journal=tmp_path / "lines.jsonl", weights=None, first=LOSES - 80_000_000, scenes=1)
    town_objects.run(options)
    lines = [json.loads(line) for line in options.journal.read_text().splitlines()]
    by_settings = {line["settings"]: line for line in lines}
    known = town_objects.compared()
    shares = {label: tuple(by_settings[m.settings][name] for name in ("thing", "shadow", "beam")) for label, m in known.items()}
    assert len(lines) == len(known) == 7 and shares[CSG] == shares["DDPM"] == shares["exact"] == (1, 1, 1)
    assert shares[town_objects.WITHOUT] == shares["LEDITS++ direct"] == (1, 1, 0) and shares["no edit"] == (0, 0, 0)
    assert all(names == ("car",) and seed == 1 for names, _, seed in Lab.edits) and len(Lab.edits) == 5
    town_objects.run(options)
    assert len(Lab.edits) == 5 and len(options.journal.read_text().splitlines()) == 7
