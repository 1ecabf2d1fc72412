"""An evaluation's bookkeeping: stages, resumption, failures, rows. The work itself is done by a stand-in."""

import io
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

import csg.evaluation.runner.main as program
from csg.evaluation.datasets import Sample
from csg.evaluation.runner.campaign import FAILURES_IN_A_ROW, Campaign
from csg.evaluation.runner.comfy_client import ComfyError
from csg.evaluation.runner.results import paper_table, write_parquet
from csg.evaluation.runner.study import (
    CONCEPTS,
    CSG,
    DDIM,
    EDITS,
    LEDITS,
    METHODS,
    VLM,
    Answer,
    Study,
    concepts_prompt,
    digest,
    edit_prompt,
    verdict_prompt,
)

DOCUMENT = {
    "graph": {"version": 1, "base_prompt": "a red house, daytime", "concepts": [
        {"name": "time", "value": "day", "values": {"day": "daytime", "night": "night time"}, "scope": "global"},
        {"name": "lamp", "value": "off", "values": {"off": "lamp off", "on": "lamp shining"}, "scope": "local"}],
        "edges": [{"cause": "time", "effect": "lamp", "status": "confirmed"}], "interventions": {"time": "night"}},
    "values": {"lamp": "on"}, "prompt": "a red house, night time, lamp shining"}  # fmt: skip
STUDY = Study("town", VLM.parse("http://127.0.0.1:1/v1", "any"), cfg=3.0)


class Hands:
    """Does tasks at once, counts them, and fails at the named ones."""

    def __init__(self, failing=()):
        self.done, self.failing = [], set(failing)

    def __call__(self, tasks):
        for task in tasks:
            if (task.stage, task.sample, task.method) in self.failing:
                yield task, "the model wrote nothing"
                continue
            self.done.append(tuple(task.item.values()))
            yield task, self.answer(task)

    def answer(self, task):
        if task.stage == CONCEPTS:
            known = {"caption": task.caption, "picture": digest(task.packed().picture)}
            return Answer(task.item | known | {"documents": [DOCUMENT, DOCUMENT], "seconds": 1.0})
        if task.stage == EDITS:
            seconds = {"seconds": 1.0 if task.number else 2.0, "inversion_shared": task.number > 0}
            figures = {"perceptual": 0.1 if task.method == CSG else 0.3, **seconds}
            return Answer(task.item | figures, f"{task.sample} {task.number} {task.method}".encode())
        wanted = f"{task.sample} {task.number} {task.method}".encode()
        assert task.packed().picture == wanted, "the judge got another picture"
        return Answer(task.item | {"verdicts": {"time": True, "lamp": task.method == CSG}, "seconds": 1.0})


@pytest.fixture
def campaign(tmp_path):
    samples = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
        samples.append(Sample(name, tmp_path / f"{name}.png", f"caption of {name}"))
    return lambda: Campaign(tmp_path / "out", samples, [DDIM, CSG])


def test_all_stages_are_done_once(campaign):
    hands = Hands()
    assert campaign().run(hands, io.StringIO()) == 0
    assert len(hands.done) == len(set(hands.done)) == 2 + 2 * 2 * 2 + 2 * 2 * 2
    again = Hands()
    assert campaign().run(again, io.StringIO()) == 0
    assert again.done == []


def test_an_ended_run_goes_on_where_it_stopped(campaign):
    class Ended(Hands):
        def __call__(self, tasks):
            for number, outcome in enumerate(super().__call__(tasks)):
                if tasks[0].stage == EDITS and number == 3:
                    raise KeyboardInterrupt
                yield outcome

    first = Ended()
    with pytest.raises(KeyboardInterrupt):
        campaign().run(first, io.StringIO())
    second = Hands()
    campaign().run(second, io.StringIO())
    kept = first.done[:-1]  # the fourth edit was computed, but the end came before it was kept
    assert not set(kept) & set(second.done)
    assert len(set(kept) | set(second.done)) == 18


def test_what_fails_is_left_for_the_next_run(campaign):
    words = io.StringIO()
    assert campaign().run(Hands([(EDITS, "a", DDIM)]), words) == 2
    assert "edits a 2 DDIM failed: the model wrote nothing" in words.getvalue()
    rows = campaign().rows("1 - MS-SSIM")
    assert len(rows) == 6
    mended = Hands()
    assert campaign().run(mended, io.StringIO()) == 0
    assert sorted(mended.done) == sorted((stage, "a", n, DDIM) for stage in ("edits", "verdicts") for n in (0, 1))


def test_a_dead_server_ends_the_run(campaign):
    def dead(tasks):
        for task in tasks:
            yield task, "no ComfyUI answers"

    one = campaign()
    one.samples *= FAILURES_IN_A_ROW
    with pytest.raises(ComfyError, match="5 tasks failed one after the other"):
        one.run(dead, io.StringIO())


def test_rows_hold_the_figures(campaign, tmp_path):
    campaign().run(Hands(), io.StringIO())
    rows = campaign().rows("1 - MS-SSIM")
    best = next(row for row in rows if row["method"] == CSG)
    assert best["intervention"] == "time = night" and best["effectiveness"] == best["effectiveness_descendants"] == 1.0
    other = next(row for row in rows if row["method"] == DDIM)
    assert (other["effectiveness"], other["effectiveness_descendants"]) == (0.5, 0.0)
    table = paper_table(rows, METHODS, "1 - MS-SSIM")
    assert "| CSG | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 0.100 [0.100, 0.100]" in table and LEDITS not in table
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(rows, tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet").select(["sample", "method", "effectiveness"]).to_pylist() == [
        {key: row[key] for key in ("sample", "method", "effectiveness")} for row in rows
    ]


def test_an_unjudged_edit_is_a_gap_in_parquet(campaign, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    campaign().run(Hands([("verdicts", "a", CSG), ("verdicts", "b", CSG)]), io.StringIO())
    write_parquet(campaign().rows("x"), tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet")["effectiveness"].null_count == 4


def test_methods_are_compared_on_the_same_edits(campaign):
    """One method failed at one edit and was not judged at another; seconds count where the inversion was not another edit's."""
    campaign().run(Hands([(EDITS, "a", DDIM), ("verdicts", "b", CSG)]), io.StringIO())
    told = paper_table(campaign().rows("x"), METHODS, "x")
    assert "| CSG | - | - | 0.100 [0.100, 0.100] | 2.0 [2.0, 2.0] |" in told and "| DDIM | - | - | 0.300 [0.300, 0.300] |" in told
    assert told.endswith("2 edits of 1 pictures, which all these methods have done.")


def test_rows_are_of_the_asked_samples_and_methods(campaign):
    campaign().run(Hands(), io.StringIO())
    fewer = campaign()
    fewer.samples, fewer.methods = fewer.samples[:1], [CSG]
    assert {(row["sample"], row["method"]) for row in fewer.rows("x")} == {("a", CSG)}


def test_edits_that_share_an_inversion_follow_each_other(campaign):
    hands = Hands()
    campaign().run(hands, io.StringIO())
    assert [item[2:] for item in hands.done if item[:2] == (EDITS, "a")] == [(0, DDIM), (1, DDIM), (0, CSG), (1, CSG)]


def test_results_of_other_settings_do_not_mix(campaign, monkeypatch):
    campaign().pin(STUDY)
    campaign().pin(STUDY)
    with pytest.raises(ValueError, match="other settings"):
        campaign().pin(Study("town", STUDY.vlm, seed=1))
    monkeypatch.setattr(Study, "settings", lambda *_: ({"scale": 9.0}, set()))
    with pytest.raises(ValueError, match="other settings"):
        campaign().pin(STUDY)


def test_settings_are_written_once_and_damaged_ones_are_no_other_settings(campaign):
    campaign().pin(STUDY)
    file = campaign().folder / "study.json"
    written = file.stat().st_mtime_ns, file.stat().st_ino
    campaign().pin(STUDY)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written
    file.write_text("")
    with pytest.raises(ValueError, match="damaged"):
        campaign().pin(STUDY)


@pytest.mark.parametrize("what", ["picture", "caption"])
def test_results_of_another_data_set_do_not_mix(campaign, what):
    campaign().run(Hands(), io.StringIO())
    campaign().pin(STUDY)
    other = campaign()
    if what == "picture":
        other.samples[1].path.write_bytes(b"another")
    else:
        other.samples[1] = replace(other.samples[1], caption="another")
    with pytest.raises(ValueError, match="another picture or caption named 'b'"):
        other.pin(STUDY)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the program over one picture with a stand-in for ComfyUI."""
    (tmp_path / "a.png").write_bytes(b"a")

    def run(performer):
        monkeypatch.setattr(program, "performer", lambda *_: nullcontext(performer))
        return program.main(["--images", str(tmp_path), "--checkpoint", "town", "--vlm", "http://127.0.0.1:1/v1", "--methods", DDIM, CSG,
                             "--output", str(tmp_path / "out")])  # fmt: skip

    return run


def test_what_is_done_is_told_even_when_the_run_ends_early(command, tmp_path, capsys):
    pytest.importorskip("pyarrow")

    class Ended(Hands):
        def __call__(self, tasks):
            for outcome in super().__call__(tasks):
                yield outcome
                if outcome[0].stage == EDITS:
                    raise ComfyError("the server is gone")

    assert command(Ended()) == 1
    told = capsys.readouterr()
    assert "the server is gone" in told.err and "The run ended early" in told.out and "| DDIM |" in told.out
    assert "1 edits of 1 pictures" in (tmp_path / "out" / "results.md").read_text()
    assert command(Hands()) == 0
    assert "0 tasks failed" in (told := capsys.readouterr().out) and "2 edits of 1 pictures, which all" in told


def test_a_place_where_nothing_can_be_written_is_told_in_a_line(command, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    (tmp_path / "out").write_text("a file where the folder should be")
    assert command(Hands()) == 1
    told = capsys.readouterr().err
    assert "out" in told and len(told.splitlines()) == 1


@pytest.mark.parametrize("table", ["results.parquet", "results.md"])
def test_a_table_that_cannot_be_written_is_told_in_a_line_and_nothing_is_lost(command, tmp_path, capsys, table):
    pytest.importorskip("pyarrow")
    (tmp_path / "out" / table).mkdir(parents=True)
    assert command(Hands()) == 1
    told = capsys.readouterr()
    assert "The tables could not be written" in told.err and table in told.err and "results.jsonl" in told.err
    assert len(told.err.splitlines()[-1]) < 600 and "Traceback" not in told.err and "| DDIM |" in told.out
    (tmp_path / "out" / table).rmdir()
    again = Hands()
    assert command(again) == 0 and again.done == []
    assert "2 edits of 1 pictures" in (tmp_path / "out" / "results.md").read_text()


def test_a_full_disk_leaves_the_tables_of_the_run_before(command, tmp_path, capsys, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert command(Hands()) == 0

    def full(rows, path):
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program, "write_parquet", full)
    assert command(Hands()) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == 4
    assert not list((tmp_path / "out").glob(".*.part"))


def test_a_run_without_any_edit_says_so(command, capsys):
    pytest.importorskip("pyarrow")
    assert command(Hands([(CONCEPTS, "a", "")])) == 1
    assert "No edit is done yet." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "kind"), [("http://localhost:8000/v1", "server"), ("clip:qwen.safetensors", "clip"), ("llm:Qwen3", "llm")]
)
def test_every_way_to_name_a_vlm(text, kind):
    assert VLM.parse(text).kind == kind


@pytest.mark.parametrize("text", ["qwen", "clip:", "ftp://x"])
def test_other_vlms_are_told(text):
    with pytest.raises(ValueError, match="expected an address"):
        VLM.parse(text)


def classes(prompt):
    return {entry["class_type"] for entry in prompt.values()}


def dangling(prompt):
    links = [value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, list)]
    return [link for link in links if link[0] not in prompt]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("checkpoint", ["town", "sd_xl_base_1.0.safetensors"])
def test_edit_prompts_are_whole(checkpoint, method):
    prompt = edit_prompt(Study(checkpoint, STUDY.vlm, steps=20), "a.png", DOCUMENT, method)
    assert not dangling(prompt)
    assert ("CSG_LoadTown" in classes(prompt)) == (checkpoint == "town")
    assert prompt["inversion"]["inputs"]["steps"] == 20
    if method in (CSG, LEDITS):
        known = json.loads(prompt["graph" if method == CSG else "graph direct"]["inputs"]["graph_json"])
        assert {concept["scope"] for concept in known["concepts"]} == (
            {"global", "local"} if method == CSG else {"local"}
        )
        assert prompt["edits"]["inputs"]["counterfactual"][0] == (
            "counterfactual" if method == CSG else "counterfactual direct"
        )
        assert prompt[prompt["edits"]["inputs"]["counterfactual"][0]]["inputs"]["values"] == (
            "lamp = on" if method == CSG else ""
        )
    else:
        assert prompt["interventional"]["inputs"]["text"] == DOCUMENT["prompt"]


def test_the_warm_up_is_a_share_of_the_steps():
    full = edit_prompt(STUDY, "a.png", DOCUMENT, CSG)
    half = edit_prompt(
        Study("town", STUDY.vlm, steps=full["inversion"]["inputs"]["steps"] // 5), "a.png", DOCUMENT, CSG
    )
    assert half["edits"]["inputs"]["warmup"] == round(full["edits"]["inputs"]["warmup"] / 5)


def test_the_other_prompts_are_whole():
    for one in (concepts_prompt(STUDY, "a.png", "a town"), verdict_prompt(STUDY, "a.png", DOCUMENT)):
        assert not dangling(one) and "CSG_VLMServer" in classes(one)
    assert concepts_prompt(STUDY, "a.png", "a town")["suggest"]["inputs"]["count"] == 3
