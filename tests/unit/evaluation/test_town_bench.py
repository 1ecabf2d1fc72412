"""The Town benchmark without its model: what it asks for, and how it judges made-up results."""

import json
import lzma
from types import SimpleNamespace

import pytest

pytest.importorskip("matplotlib")

import numpy as np  # noqa: E402
import town  # noqa: E402
import town_ceiling  # noqa: E402
import town_lab  # noqa: E402
import town_methods  # noqa: E402
import town_plots  # noqa: E402
import town_report  # noqa: E402
from town_methods import (  # noqa: E402
    ALL,
    AXES,
    COMPARED,
    CSG,
    INTERVENED,
    NO_EDIT,
    PAPER,
    SCHEDULES,
    ablation,
    methods,
    shipped,
)
from town_worlds import INTERVENED_ON, interventions  # noqa: E402

from csg.diffusion.edits import ConceptTerm, Edits  # noqa: E402
from csg.diffusion.plan import Plan  # noqa: E402
from csg.diffusion.run import Run  # noqa: E402
from csg.evaluation.runner import main as evaluation
from csg.evaluation.runner import prompts  # noqa: E402
from csg.evaluation.runner.study import edit_prompt  # noqa: E402
from csg.town import world  # noqa: E402

FULL = (
    "effectiveness",
    "effectiveness_descendants",
    "perceptual",
    "excess_error",
    "untouched",
    "psnr",
    "error",
    "seconds",
)


def asked(*words):
    options = town.arguments(list(words))
    return options, list(town.items(options, town.compared(options)))


def test_csg_is_what_the_town_workflow_does():
    workflow = prompts.read("town_counterfactual")
    asked = {name: value for title in ("Invert", "Encode the edits", "Edit") for name, value in prompts.inputs(workflow, title).items()}
    one = vars(shipped()) | {"warmup": round(shipped().warmup * shipped().steps)}
    assert one["source"] == ("source" in asked)
    shared = one.keys() & asked.keys() - {"source"}
    assert shared >= {"steps", "skip", "base", "mask", "mask_source", "contrast", "cut", "preserve", "release", "release_below", "scale",
                      "strengths", "threshold", "global_scale", "warmup", "concepts", "source_guidance", "zero_noise_steps"}  # fmt: skip
    assert {name: one[name] for name in shared} == {name: asked[name] for name in shared}


def test_every_root_and_inner_concept_is_intervened_on():
    causes = {cause for variable in world.VARIABLES for cause in variable.causes}
    roots_and_inner = {v.name for v in world.VARIABLES if not v.causes or v.name in causes}
    assert set(INTERVENED_ON) == roots_and_inner
    for scene in range(80_000_000, 80_000_010):
        before = world.factual(scene)
        assert all(before[name] != value for do in interventions(scene) for name, value in do.items())
    assert interventions(80_000_003) == interventions(80_000_003)


def test_the_whole_run_is_two_hundred_scenes_of_six_interventions():
    options, items = asked()
    edits = [item for item in items if item.measure == town.EDIT]
    assert len(edits) == 200 * 6 * (len(COMPARED) + 2)
    assert len({item.scene for item in items}) == 200
    assert {item.label for item in items if item.measure == town.REVERSIBILITY} == {*COMPARED, NO_EDIT}
    assert len([item for item in items if item.measure == town.COMPOSITION]) == 12 * (len(COMPARED) + 1)
    again = {(item.scene, item.do.split("=")[0]) for item in items if item.measure == town.REVERSIBILITY}
    assert len(again) == 12 and {name for _, name in again} == set(INTERVENED_ON)
    assert options.journal.name == "town.jsonl"


def test_quick_is_small_and_kept_apart():
    options, items = asked("--quick")
    assert len([i for i in items if i.measure == town.EDIT]) == 2 * 3 * (len(COMPARED) + 2)
    assert {item.method.steps for item in items} == {town.QUICK_STEPS} and options.journal.name == "town_quick.jsonl"


def test_two_runs_can_share_the_scenes():
    whole, (_, first), (_, second) = (
        asked("--scenes", "4"),
        asked("--scenes", "2"),
        asked("--scenes", "2", "--first", "2"),
    )
    assert [item.record("m") for item in first + second] == [item.record("m") for item in whole[1]]


def test_edits_of_a_scene_follow_each_other():
    _, items = asked("--scenes", "5", "--axioms", "2")
    scenes = [item.scene for item in items]
    assert scenes == sorted(scenes)


def test_no_axis_named_means_every_ablation():
    options, items = asked("--ablate")
    assert options.ablate == list(AXES) and options.axioms == 0 and len({i.scene for i in items}) == 20
    assert asked("--ablate", "base", "--scenes", "1")[0].ablate == ["base"]


@pytest.mark.parametrize("words", [["--ablate", "colour"], ["--concepts", "wheather"], ["--concepts", "lamp"]])
def test_unknown_names_are_told(words, capsys):
    with pytest.raises(SystemExit):
        town.arguments(words)
    assert "there are base" in (told := capsys.readouterr().err) or "there are weather, ground" in told


@pytest.mark.parametrize("axis", AXES)
def test_every_ablation_has_the_shipped_setting_or_changes_only_its_axis(axis):
    csg = shipped()
    variants = ablation(csg, axis)
    assert len(variants) == len(AXES[axis]) and len({v.settings for v in variants.values()}) == len(variants)
    without = vars(csg) | {"strengths": ""}  # of single concepts, which are an axis of their own
    changed = {name for v in variants.values() for name, value in vars(v).items() if value != without[name]}
    allowed = {"frontier": {"scale", "threshold", "cut"}, "base": {"base", "source"}, "global_concepts": {"scoped"},
               "release": {"release", "release_below"}, "few_steps": {"scheduler", "steps"},
               "schedule": {"curve", "scale", "global_scale", "warmup"}}.get(axis, {axis})  # fmt: skip
    assert changed <= allowed


def test_every_schedule_guides_as_much_as_none_and_all_are_tried_at_the_same_scales():
    steps = shipped().steps
    curves = {name: [curve((i + 0.5) / steps) for i in range(steps)] for name, curve in SCHEDULES.items()}
    assert [sum(weights) / steps for weights in curves.values()] == pytest.approx([1] * 3) and min(map(min, curves.values())) > 0
    assert curves["early"] == pytest.approx(curves["late"][::-1]) and curves["late"] == sorted(curves["late"])
    assert max(curves["cosine"]) == pytest.approx(curves["cosine"][steps // 2]) and curves["cosine"][0] < 0.1 > curves["cosine"][-1]
    tried = [(variant.curve, variant.scale) for variant in ablation(shipped(), "schedule").values()]
    assert tried == [(curve, scale) for curve in ("", *SCHEDULES) for scale in (1.0, 1.5, 2.0)]
    assert [variant.global_scale for variant in ablation(shipped(), "schedule").values()][1] == shipped().global_scale


def test_a_schedule_turns_every_term_of_a_step_and_nothing_when_there_is_none(monkeypatch):
    seen = []

    class Guider:
        def predict_noise(self, x, timestep, model_options, seed=None):
            seen.append([term.scale for term in model_options["run"].plan.terms])

    host = SimpleNamespace(KEY="run", CSGGuider=Guider)
    monkeypatch.setattr(town_lab, "pack_module", lambda name: host)
    plan = Plan(Edits((ConceptTerm("a", "a", 2.0), ConceptTerm("b", "b", 3.0))))
    for curve in (None, SCHEDULES["late"]):
        with town_lab.scheduled(curve, 4):
            for step in (0, 3):
                host.CSGGuider().predict_noise(None, None, {"run": Run(plan, step)})
        assert host.CSGGuider is Guider and [term.scale for term in plan.terms] == [2, 3]
    assert seen == [[2, 3], [2, 3], [0.5, 0.75], [3.5, 5.25]]


def test_lines_from_before_an_option_came_still_count():
    """The baselines' settings never named it; a line says only what is set."""
    known = methods(shipped())
    assert "release_below" in known[CSG].settings and "release_below" not in known["DDPM"].settings


def test_only_csg_and_the_whole_prompts_know_the_graph():
    known = methods(shipped())
    assert {name for name in COMPARED if known[name].concepts == ALL} == {"DDIM", "DDPM", PAPER, CSG}
    assert known["LEDITS++ direct"].concepts == INTERVENED and not known["LEDITS++ direct"].scoped
    assert not known["LEDITS++ direct"].source


@pytest.mark.parametrize("label", ["DDIM", "DDPM", "LEDITS++ direct", CSG])
def test_folders_are_evaluated_with_the_benchmarks_settings(label):
    """On Town `python -m csg.evaluation` compares the same methods as this benchmark."""
    options = evaluation.arguments(["--images", "x", "--checkpoint", "town", "--vlm", "llm:x"])
    graph = world.graph_document(world.factual(80_000_000))
    prompt = edit_prompt(evaluation.study_of(options), "a.png", {"graph": graph, "values": {}, "prompt": "a town"}, label)
    known, told = vars(methods(shipped())[label]), {}
    for name in ("inversion", "edits", "sampler"):
        told |= prompt.get(name, {"inputs": {}})["inputs"]
    told["skip"] = told.get("skip", told.get("skip_steps", 0) / told["steps"])
    assert known["source"] == ("source" in told)
    if "warmup" in told:
        told["warmup"] /= told["steps"]
    shared = told.keys() & known.keys() - {"source", "concepts"} - (set() if known["scoped"] else {"global_scale"})
    assert {name: told[name] for name in shared} == {name: known[name] for name in shared}
    assert len(shared) >= (15 if "edits" in prompt else 4)


def test_edits_that_share_an_inversion_say_so():
    known = methods(shipped())
    assert known["DDPM"].inversion == known["DDPM direct"].inversion != known["DDIM"].inversion
    variants = ablation(shipped(), "frontier").values()
    assert len({v.inversion for v in variants}) == 1


def row(scene, do="weather=rainy", **figures):
    base = dict.fromkeys(FULL, 1.0) | {"inversion_seconds": 1.0, "missed": [], "disturbed": []}
    return base | {"scene": scene, "do": do, "seed": 1, "kind": INTERVENED_ON[do.split("=")[0]]} | figures


def results(**csg):
    """Made-up rows: DDPM and CSG over four scenes."""
    ours = {"effectiveness": 1.0, "excess_error": 0.2, "psnr": 23.0} | csg
    return {
        "DDPM": [row(s, effectiveness=0.9, excess_error=0.5 + 0.01 * s, psnr=20.0 + s) for s in range(4)],
        CSG: [row(s, **(ours | {"psnr": ours["psnr"] + s})) for s in range(4)],
    }


def verdicts(rows):
    return [text.split("|")[-2].strip() for text in town_report.goals(rows).splitlines()[2:]]


def test_goals_that_are_met():
    assert verdicts(results()) == ["yes", "yes", "yes"]


@pytest.mark.parametrize(
    ("change", "missed"), [({"effectiveness": 0.94}, 0), ({"excess_error": 0.3}, 1), ({"psnr": 21.9}, 2)]
)
def test_goals_that_are_missed_are_said_to_be(change, missed):
    assert [v == "**no**" for v in verdicts(results(**change))] == [number == missed for number in range(3)]


def test_the_best_baseline_is_found_for_each_figure():
    rows = results() | {"DDIM": [row(s, effectiveness=0.99, excess_error=9.0, psnr=10.0) for s in range(4)]}
    told = town_report.goals(rows)
    assert "(DDIM)" in told.splitlines()[2] and "(DDPM)" in told.splitlines()[3] and "(DDPM)" in told.splitlines()[4]


def test_a_baseline_that_does_nothing_can_be_left_out_of_the_goals():
    idle = [row(s, effectiveness=0.2, excess_error=0.0, psnr=30.0) for s in range(4)]
    rows = results() | {"LEDITS++ direct": idle}
    everyone, able = (town_report.goals(rows, least).splitlines() for least in (0.0, town_report.EFFECTIVE))
    assert "(LEDITS++ direct)" in everyone[3] and "(LEDITS++ direct)" in everyone[4]
    assert able == town_report.goals(results()).splitlines()
    assert len(town_report.goals({CSG: rows[CSG], "LEDITS++ direct": idle}, 0.85).splitlines()) == 2


def test_a_figure_without_values_is_left_out_of_the_goals():
    rows = {label: [r | {"excess_error": None} for r in found] for label, found in results().items()}
    assert len(verdicts(rows)) == 2


def test_methods_are_compared_on_the_same_edits():
    rows = results()
    rows["DDPM"].append(row(9))
    shared = town_report.common(rows)
    assert [len(found) for found in shared.values()] == [4, 4]
    assert town_report.common(rows | {"DDIM": []}).keys() == {"DDPM", CSG}


def test_tables_and_plots_are_written(tmp_path):
    rows = results()
    told = town_report.compared_table(rows, "1 - MS-SSIM")
    assert told.splitlines()[0].startswith("| method | effectiveness ↑") and len(told.splitlines()) == 6
    assert told.endswith("4 edits of 4 scenes; seconds on a machine without a name.")
    assert "| weather | CSG | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 0.20 [0.20, 0.20] | 24.50" in town_report.by_kind(rows)
    town_plots.methods_plot(rows, tmp_path / "methods.png")
    frontier = {label: results(psnr=20.0 + i)[CSG] for i, label in enumerate(ablation(shipped(), "frontier"))}
    town_plots.frontier_plot(frontier, tmp_path / "frontier.png")
    for name in ("methods", "frontier"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_kept_pixels_are_a_column_where_they_were_measured_of_every_edit():
    """Lines from before have none; whole prompts never do."""
    assert "pixels kept" not in town_report.compared_table(results(), "1 - MS-SSIM")
    rows = results()
    rows[CSG] = [r | {"kept_excess_error": -0.25, "kept_psnr": 26.0} for r in rows[CSG]]
    head, _, *lines = town_report.compared_table(rows, "1 - MS-SSIM").splitlines()
    place = head.split("|").index(" excess error, pixels kept ↓ ")
    cells = {line.split("|")[1].strip(): line.split("|")[place].strip() for line in lines[:2]}
    assert cells[CSG] == "-0.25 [-0.25, -0.25]" and cells["DDPM"] == "-"
    del rows[CSG][0]["kept_psnr"]
    assert "pixels kept" not in town_report.compared_table(rows, "1 - MS-SSIM"), "means over other edits are not to be compared"


def test_edits_stand_beside_themselves_with_pixels_kept():
    """Only those of which both are known."""
    both = {"effectiveness": 1.0, "kept_effectiveness": 1.0, "excess_error": 1.5, "kept_excess_error": 0.5, "psnr": 20.0, "kept_psnr": 22.0}
    rows = [row(n, "time=day", kind="time", **both) for n in range(3)] + [row(4, "time=day", kind="time", psnr=90.0)]
    table = town_report.kept_table(rows).splitlines()
    same = "1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1.50 [1.50, 1.50] | 0.50 [0.50, 0.50] | 20.00 [20.00, 20.00] | 22.00 [22.00, 22.00]"
    assert table[2:] == [f"| {kind} | 3 | {same} |" for kind in ("time", "all")]
    assert town_report.kept_table(rows[3:]) == ""


def test_pixels_are_kept_as_the_town_workflow_keeps_them():
    assert town_methods.keeping() == (16, 8.0)


def test_what_fails_is_counted():
    rows = [row(1, missed=["person", "ground"]), row(2, missed=["ground"], disturbed=["car"])]
    assert "| do(weather=rainy) | 2 | ground 2, person 1 | car 1 |" in town_report.failing(rows)


def test_the_small_vlm_stands_beside_the_readers():
    """It says no to a car that the readers see, and sees the house as they do; nothing of the unedited picture."""
    edited = [row(1, missed=["person"], vlm={"car": False, "house": True, "person": False})]
    rows = {CSG: edited, "no edit": [row(1, missed=["car", "house"], vlm={"car": False, "house": False})]}
    told = town_report.judges(rows)
    assert f"| {CSG} | 3 | 0.33 | 0.67 | 0.67 | 0.40 |" in told and "| no edit | 2 | 0.00 | 0.00 | 1.00 | - |" in told
    assert "| all edits | 3 |" in told and "| all pictures | 5 |" in told and "| *car* | 1 | 0.00 | 1.00 | 0.00 | 0.00 |" in told


def test_the_ceilings_stand_beside_the_same_edits():
    rows = {label: [row(80_000_000 + n, "time=day", psnr=psnr + n) for n in range(3)] for label, psnr in (("DDPM", 18.0), (CSG, 20.0))}
    lines = [{"scene": 80_000_000 + n, "do": "time=day", "psnr_drawing": 25.0 + n, "psnr_mean": 27.0, "psnr_exact": 30.0} for n in (0, 2)]
    table = town_report.ceilings(rows, lines).splitlines()
    assert table[0] == "| intervention on | edits | DDPM | CSG | another drawing | best guess | autoencoder |"
    assert table[2:] == [f"| {kind} | 2 | 19.0 | 21.0 | 26.0 | 27.0 | 30.0 |" for kind in ("time", "all")]
    assert town_report.ceilings(rows, []) == ""


def test_what_a_scene_hides_is_drawn_again_and_nothing_else():
    number = next(n for n in range(80_000_000, 80_000_050) if world.factual(n)["weather"] == "sunny" and world.factual(n)["car"] != "none")
    scene = town_ceiling.Scene(number)
    free = scene.hidden()
    assert free["drops"].all() and free["stars"].all() == (scene.values["time"] == "day")
    assert not free["car"].any() and not free["horizon"].any() and not free["house"].any()
    for other in scene.redrawn(3):
        assert scene.looks_alike(other.geometry)
        assert not np.array_equal(other.geometry["drops"], scene.noise.geometry["drops"])
        assert np.array_equal(other.geometry["horizon"], scene.noise.geometry["horizon"]) and other.seed == number


def test_seconds_of_another_machine_are_not_mixed_in():
    """The rest of a line counts wherever it was done."""
    lines = [row(n, machine="slow" if n == 3 else "fast", seconds=9.0 if n == 3 else 2.0) for n in range(4)] + [row(4, seconds=7.0)]
    rows, clock = town_report.of_one_clock({CSG: lines})
    assert clock == "fast"
    assert [line["seconds"] for line in rows[CSG]] == [2.0, 2.0, 2.0, None, None]
    assert [line["inversion_seconds"] for line in rows[CSG]] == [1.0, 1.0, 1.0, None, None]
    assert [line["psnr"] for line in rows[CSG]] == [1.0] * 5
    assert town_report.of_one_clock({"exact": [{"seconds": None}]})[1] == ""
    told = town_report.compared_table({CSG: lines}, "1 - MS-SSIM")
    assert "| 2.0 [2.0, 2.0] |" in told and told.endswith("5 edits of 5 scenes; seconds on fast.")


def test_a_line_that_was_done_again_keeps_the_clock_of_the_line_it_replaces():
    again = {"machine": "slow", "clock": "quick", "seconds": 2.0, "inversion_seconds": 1.0}
    rows, clock = town_report.of_one_clock({CSG: [again, {"machine": "quick", "seconds": 3.0}, {"machine": "slow", "seconds": 9.0}]})
    assert clock == "quick" and [row["seconds"] for row in rows[CSG]] == [2.0, 3.0, None]


def test_every_table_has_a_clock_of_its_own():
    """What one table's machine did most of does not blank another's."""
    ours, others = ([row(n, machine=name, seconds=1.0) for n in range(count)] for name, count in (("here", 2), ("there", 5)))
    for lines, clock in ((ours, "here"), (others, "there")):
        assert f"seconds on {clock}." in town_report.compared_table({CSG: lines}, "x")


def test_perceptual_distances_of_two_kinds_have_no_mean():
    lines = [row(n, perception="LPIPS (vgg)" if n == 2 else "1 - MS-SSIM") for n in range(3)] + [{"measure": "composition"}]
    told, name = town_report.of_one_perception(lines)
    assert name == "1 - MS-SSIM" and [line.get("perceptual") for line in told] == [1.0, 1.0, None, None]
    assert town_report.of_one_perception([]) == ([], "")


def test_composition_and_reversibility_are_compared_on_the_same_edits():
    """DDPM has an edit more, and a bad one."""
    known = {label: methods(shipped())[label] for label in ("DDPM", CSG)}
    lines = [{"measure": measure, "settings": known[label].settings, "scene": scene, "do": "car=red", "seed": 1,
              **{f"{measure}_{field}": value for field in ("mean_error", "psnr", "ms_ssim")}}
             for label, edits in (("DDPM", ((1, 2.0), (2, 9.0))), (CSG, ((1, 3.0),)))
             for scene, value in edits for measure in ("composition", "reversibility")]  # fmt: skip
    told = town_report.axioms_table(lines, known)
    assert "| DDPM | 2.00 [2.00, 2.00] | 2.0" in told and "9.0" not in told and "| CSG | 3.00 [3.00, 3.00]" in told
    assert told.endswith("1 scenes for composition, 1 edits for reversibility.")


def test_settings_name_what_acts_and_nothing_else():
    told = dict(line[4:].split("**: ") for line in town_report.settings({n: methods(shipped())[n] for n in ("DDPM", CSG)}).splitlines())
    assert "cfg 2" in told["DDPM"] and "skip 0.16" in told["DDPM"] and "preserve" not in told["DDPM"]
    assert "preserve concepts" in told[CSG] and "cfg" not in told[CSG]


def test_a_sheet_of_examples_outlives_its_pictures(tmp_path):
    sheet, gone = tmp_path / "examples.jpg", lambda *_: tmp_path / "gone.png"
    assert not town_plots.examples_sheet([CSG], [(1, "car=red")], gone, sheet)
    sheet.write_bytes(b"made before")
    assert town_plots.examples_sheet([CSG], [(1, "car=red")], gone, sheet) and sheet.read_bytes() == b"made before"


def test_shipped_lines_are_laid_out_and_packed_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(town, "RESULTS", tmp_path)
    lines = [json.dumps(row(n, model="m", measure="edit", settings="s")) + "\n" for n in range(3)]
    (tmp_path / "town.jsonl.xz").write_bytes(lzma.compress("".join(lines[:2]).encode()))
    options = town.arguments(["--report"])
    town.join(options)
    assert options.journal.read_text() == "".join(lines[:2])
    options.journal.write_text(lines[2])  # a run's own, from before the archive was renewed
    town.join(options)
    assert sorted(options.journal.read_text().splitlines(True)) == lines
    town.pack(options)
    assert lzma.decompress((tmp_path / "town.jsonl.xz").read_bytes()) == options.journal.read_bytes()


def test_lines_of_other_runs_are_joined_once(tmp_path, capsys):
    def journal(name, scenes):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row(n, model="m", measure="edit", settings="s", by=name)) + "\n" for n in scenes))
        return path

    own, others = journal("own", (0, 1)), [journal("second", (1, 2)), journal("third", (2, 3))]
    options = town.arguments(["--report", "--journal", str(own), "--join", *map(str, others)])
    for told in (["1 results", "1 results"], ["0 results", "0 results"]):
        town.join(options)
        assert [line.split(": ")[1][:9] for line in capsys.readouterr().err.splitlines()] == told
        assert [json.loads(line)["by"] for line in own.read_text().splitlines()] == ["own", "own", "second", "third"]
    with pytest.raises(SystemExit, match="no such file"):
        town.join(town.arguments(["--report", "--journal", str(own), "--join", str(tmp_path / "gone.jsonl")]))
