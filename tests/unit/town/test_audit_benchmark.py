"""The audit's benchmark: edits that go wrong on purpose, and how verdicts are counted."""

import numpy as np
import town_audit
from town_audit import DISTURBED, GOOD, MISSING, Trial

from csg.evaluation.audit import CHANGE, STAY
from csg.town import world
from csg.town.readers import read_values


def test_a_bad_edit_differs_from_the_exact_one_in_one_concept_and_the_readers_see_it():
    found = {case.kind: case for case in town_audit.cases(3, {"weather": "rainy"})}
    assert set(found) == {GOOD, MISSING, DISTURBED}
    wanted = {change.concept: change.counterfactual for change in found[GOOD].counterfactual.changes}
    assert wanted == world.counterfactual(3, {"weather": "rainy"})
    read = {kind: read_values(case.edited[None])[0] for kind, case in found.items()}
    wrong = {kind: [name for name in world.NAMES if read[kind][name] != wanted[name]] for kind in read}
    assert wrong[GOOD] == [] and len(wrong[MISSING]) == len(wrong[DISTURBED]) == 1
    assert found[GOOD].counterfactual[wrong[MISSING][0]].changed and not found[GOOD].counterfactual[wrong[DISTURBED][0]].changed
    assert all(np.array_equal(case.before, found[GOOD].before) for case in found.values())


def test_nothing_is_missing_where_nothing_follows():
    assert [case.kind for case in town_audit.cases(3, {"house": "blue"})] == [GOOD, DISTURBED]


def test_slips_alarms_and_kappa_are_counted():
    """Two slips, one caught; three right, one alarm; one that the model cannot tell."""
    trials = [Trial(GOOD, CHANGE, True, True), Trial(GOOD, STAY, False, True), Trial(GOOD, STAY, None, True),
              Trial(MISSING, CHANGE, True, False), Trial(MISSING, STAY, True, True), Trial(DISTURBED, STAY, False, False)]  # fmt: skip
    text = town_audit.report(trials, 1)
    assert "| all | 6 | 1 | 0.60 | 0.17 | 1 of 2 | 1 of 3 |" in text
    assert "| concepts that had to change | 2 | 0 | 0.50 | 0.00 | 0 of 1 | 0 of 1 |" in text


class AlwaysYes:
    """A model without eyes."""

    def ask(self, question, progress=None):
        return '{"answer": "yes"}'


def test_a_model_without_eyes_agrees_by_chance_alone():
    found = [trial for case in town_audit.cases(3, {"weather": "rainy"}) for trial in town_audit.trials(AlwaysYes(), case)]
    assert len(found) == 36 and all(trial.model for trial in found)
    assert "| all | 36 | 0 | 0.94 | 0.00 | 0 of 2 | 0 of 34 |" in town_audit.report(found, 1)
