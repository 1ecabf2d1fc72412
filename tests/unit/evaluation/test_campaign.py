"""An evaluation's bookkeeping: stages, resumption, failures, rows. The work itself is done by a stand-in."""

import io
import json

import pytest

from csg.evaluation.campaign import FAILURES_IN_A_ROW, Campaign
from csg.evaluation.comfy_client import ComfyError
from csg.evaluation.datasets import Sample
from csg.evaluation.results import paper_table, write_parquet
from csg.evaluation.study import (
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
            return Answer(task.item | {"caption": task.caption, "documents": [DOCUMENT, DOCUMENT], "seconds": 1.0})
        if task.stage == EDITS:
            figures = {"perceptual": 0.1 if task.method == CSG else 0.3, "seconds": 2.0, "inversion_shared": False}
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


def test_results_of_other_settings_do_not_mix(campaign):
    campaign().pin(STUDY)
    campaign().pin(STUDY)
    with pytest.raises(ValueError, match="other settings"):
        campaign().pin(Study("town", STUDY.vlm, seed=1))


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
