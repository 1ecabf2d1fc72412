"""Strength as a dial: which edits are asked for, and how they are judged, on pictures that the world itself draws."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import town_dial
import town_lab
from town_methods import shipped

from csg.images import to_array, to_tensor
from csg.town import score, world
from csg.town.readers import probabilities, read_values
from csg.town.render import render

SCENES = range(80_000_000, 80_000_030)
DO = {"weather": "rainy"}
SUNNY = next(s for s in SCENES if world.factual(s)["weather"] == "sunny" and world.counterfactual(s, DO)["ground"] == "wet")


def mixed(scene, share):
    """A picture this far from the factual picture to the exact counterfactual."""
    known = score.truth(scene, DO)
    return ((1 - share) * known.factual.astype(float) + share * known.exact).round().astype(np.uint8)


def test_the_readers_probabilities_are_of_the_values_that_they_read():
    pictures = np.stack([score.truth(scene, DO).factual for scene in SCENES[:3]])
    for seen, read in zip(probabilities(pictures), read_values(pictures), strict=True):
        assert {name: max(values, key=values.get) for name, values in seen.items()} == read
        assert all(tuple(values) == world.BY_NAME[name].domain for name, values in seen.items())
        assert [sum(values.values()) for values in seen.values()] == pytest.approx([1] * len(seen))


def test_a_strength_turns_every_scale_and_shares_the_inversion():
    csg, methods = shipped(), town_dial.dial(shipped())
    assert methods[1.0] == csg and (methods[0.0].scale, methods[0.0].global_scale) == (0, 0)
    for strength, method in methods.items():
        changed = {name for name, value in vars(method).items() if value != getattr(csg, name)}
        assert changed == (set() if strength == 1 else {"scale", "global_scale"})
        assert (method.scale, method.global_scale) == (strength * csg.scale, strength * csg.global_scale)
    assert len({method.inversion for method in methods.values()}) == 1 and len({method.settings for method in methods.values()}) == 7


def test_figures_tell_the_exact_counterfactual_from_the_picture_before():
    before, exact = (town_dial.measured(mixed(SUNNY, share), SUNNY, DO) for share in (0, 1))
    assert before["wished"] < 0.1 < 0.9 < exact["wished"] and before["effects"] < 0.1 < 0.9 < exact["effects"]
    assert before["moved"] == exact["error"] == 0 < before["error"] == exact["moved"]
    assert before["others"] == exact["others"] == 1 and before["psnr_outside"] > 90


def test_only_what_cannot_be_reached_counts_as_untouched():
    """A drawing in which the house was painted too, and one in which a descendant was."""
    noise, values = world.exogenous(SUNNY), world.factual(SUNNY)
    other = next(value for value in world.BY_NAME["house"].domain if value != values["house"])
    painted, reachable = (np.array(render(noise, world.evaluate(noise, DO) | also)[0]) for also in ({"house": other}, {"ground": "snow"}))
    others = len(world.NAMES) - 1 - len(world.descendants(["weather"]))
    assert town_dial.measured(painted, SUNNY, DO)["others"] == pytest.approx(1 - 1 / others)
    assert town_dial.measured(reachable, SUNNY, DO)["others"] == 1


def test_spearman_of_known_series():
    assert town_dial.spearman([0, 0.2, 0.4, 0.9]) == pytest.approx(1) and town_dial.spearman([3, 2, 1]) == pytest.approx(-1)
    assert town_dial.spearman([0.5, 0.5, 0.5]) == 0 == town_dial.spearman([0.001, 0.002, 0.0])
    assert town_dial.spearman([0, 0.5, 0.4, 1]) == pytest.approx(0.8)  # one pair of neighbours the wrong way round


def lines(scene, along, effects=None):
    """The journal's lines of one intervention: its probability, distances that follow it, and what is the same throughout."""
    for strength, method, wished in zip(town_dial.STRENGTHS, town_dial.dial(shipped()).values(), along, strict=False):
        yield {"scene": scene, "do": "weather=rainy", "settings": method.settings, "machine": "a machine", "versions": "1",
               "wished": wished, "effects": effects, "moved": 5 * wished, "error": abs(strength - 0.75), "others": 1.0,
               "psnr_outside": None}  # fmt: skip


def test_a_sweep_knows_its_falls_and_its_nearest():
    found = town_dial.sweep(list(lines(1, [0, 0.1, 0.5, 0.4, 0.9, 0.9, 1.0])))
    assert found["fall"] == pytest.approx(0.1) and found["best"] == 0.75 and found["rho_effects"] is None and found["kind"] == "weather"
    assert 0.9 < found["rho_wished"] == found["rho_moved"] < 1


def test_tables_are_of_the_interventions_edited_at_every_strength():
    rising = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    rows = [*lines(1, rising, 0.5), *lines(2, rising, 0.5), *lines(3, [0.9, 0.1])]
    text = town_dial.report(rows, "the command")
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("|")]
    table = {first: more for first, *more in cells}
    assert "2 interventions on 2 held-out scenes" in text and "`the command`" in text and "a machine; 1." in text
    assert table["0"][0].startswith("0.00") and table["1.5"][0].startswith("0.60") and table["1.5"][5] == "-"
    assert table["all (2)"][0].startswith("1.00 ") and table["weather (2)"][1].startswith("0.00 ") and "time (" not in text
    assert "every strength yet" in town_dial.report(rows[:5], "the command")


class Lab:
    """A painter without a model: the edit goes as far as its strength says."""

    machine, versions, edits, forgotten = "a machine", "1", [], 0

    def __init__(self, painter):
        assert painter == "a painter"

    def forget(self):
        Lab.forgotten += 1

    def edited(self, image, change, method, seed):
        known = score.truth(SUNNY, {name: change.after[name] for name in change.intervened})
        assert (to_array(image)[0] == known.factual).all()
        self.edits.append((change.intervened, method.scale / shipped().scale, seed))
        share = min(1.0, method.scale / shipped().scale)
        picture = ((1 - share) * known.factual.astype(float) + share * known.exact).round().astype(np.uint8)
        return town_lab.Edited(to_tensor(picture), None, 1.0, 1.0)


def test_a_run_turns_the_dial_of_every_intervention_and_repeats_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(town_lab, "Lab", Lab)
    monkeypatch.setattr(town_dial, "opened", lambda _: "a painter")
    monkeypatch.setattr(town_dial, "digest", lambda _: "weights")
    where = {"journal": tmp_path / "lines.jsonl", "weights": None}
    options = SimpleNamespace(**where, first=SUNNY - 80_000_000, scenes=1, concepts=["weather", "car"])
    town_dial.run(options)
    rows = [json.loads(line) for line in options.journal.read_text().splitlines()]
    assert len(rows) == 14 == len(Lab.edits) and {row["do"].split("=")[0] for row in rows} == {"weather", "car"}
    assert [strength for _, strength, _ in Lab.edits] == pytest.approx([*town_dial.STRENGTHS] * 2) and Lab.forgotten == 1
    weather = [row for row in rows if row["do"].startswith("weather")]
    assert [row["moved"] for row in weather[:5]] == sorted(row["moved"] for row in weather[:5]) and town_dial.sweep(weather)["best"] == 1
    town_dial.run(options)
    assert len(Lab.edits) == 14 and len(options.journal.read_text().splitlines()) == 14
