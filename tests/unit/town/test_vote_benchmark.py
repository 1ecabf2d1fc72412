"""The benchmark of the vote: a reader whose errors are known, and what one reading and several make of it."""

import pytest
import torch
import town_vote
from town_expected import TRUE_EDGES
from town_vlm_names import edges_meant
from town_vlm_questions import scenes

from csg.vlm.extract import extract_concepts

IMAGE = torch.zeros(1, 64, 64, 3)


def drawn(reader, seed):
    return edges_meant(extract_concepts(reader, IMAGE, max_concepts=12, seed=seed).graph, "confirmed")


def test_the_scripted_reader_errs_as_often_as_it_was_told_to():
    assert drawn(town_vote.Forgetful(0, 0), 1) == set(TRUE_EDGES) and drawn(town_vote.Forgetful(1, 0), 1) == set()
    found = [drawn(town_vote.Forgetful(0.3, 0), seed) for seed in range(100)]
    assert sum(map(len, found)) / 1000 == pytest.approx(0.7, abs=0.05)
    assert len(drawn(town_vote.Forgetful(1, 0.5), 2)) > 10 and not drawn(town_vote.Forgetful(1, 0.5), 2) & set(TRUE_EDGES)


def test_errors_of_a_habit_are_alike_in_all_readings_of_a_scene_and_others_are_not():
    for same in (True, False):
        reader = town_vote.Forgetful(0.3, 0.03, same=same)
        assert (drawn(reader, 500) == drawn(reader, 501)) is same and drawn(reader, 500) != drawn(reader, 600)


def test_a_vote_mends_what_differs_between_readings_and_nothing_else():
    chosen = list(scenes(6))
    for same in (True, False):
        reader = town_vote.Forgetful(0.3, 0.03, same=same)
        one, vote, gain = town_vote.rows("x", [town_vote.read(reader, scene, 5, 0.7) for scene in chosen])
        f1 = [float(row.split(" | ")[4].split(" ")[0]) for row in (one, vote, gain)]
        assert (f1[2] == 0 and f1[0] == f1[1] and vote.endswith("| 1.00 |")) if same else (f1[2] > 0.05 and vote.endswith("| 0.00 |"))
