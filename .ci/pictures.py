"""Makes the pictures that introduce the pack, from real runs of its workflows: `python .ci/pictures.py`.

Writes the template browser's thumbnail beside every Town workflow, docs/first.jpg for the README, and pictures of help
pages. Needs the pack set up (make setup) and some minutes; nothing is drawn that the workflows did not produce. With
names, such as `town_counterfactual` or `keep-preserved`, only those.
"""

import io
import json
import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from demo import Edit, filled  # noqa: E402

from csg.causal.assignments import parse_assignments  # noqa: E402
from csg.causal.counterfactual import propagate  # noqa: E402
from csg.causal.drawing import draw  # noqa: E402
from csg.causal.formats import read_json  # noqa: E402
from csg.causal.lettering import font_for  # noqa: E402
from csg.causal.questions import parse_questions  # noqa: E402
from csg.evaluation.runner import prompts  # noqa: E402
from csg.evaluation.runner.comfy_client import ComfyServer  # noqa: E402
from csg.evaluation.sheets import INK, MUTED, PAPER  # noqa: E402
from csg.town.render import render  # noqa: E402
from csg.town.world import evaluate, exogenous, graph_document  # noqa: E402

PAIRS = ("town_counterfactual", "town_transformer", "town_day_to_night", "town_two_interventions")
ALONE = {"town_from_image": ("counterfactual", "from the picture alone: {}"), "town_by_hand": ("edited", "concepts by hand, no graph")}
SHEETS = ("town_baselines", "any_editor")
ASKED = ("town_questions",)
DRAWN = {"sd35_counterfactual": "SD3.5", "flux_counterfactual": "Flux.1 dev", "qwen_image_counterfactual": "Qwen-Image",
         "z_image_counterfactual": "Z-Image", "qwen_image_edit_counterfactual": "Qwen-Image-Edit",
         "kontext_counterfactual": "Flux Kontext", "your_own_photo": "SDXL"}
"""Their models cannot be had here: the question is shown, no picture."""
SIDE, GAP = 440, 28


def run(client, prompt):
    """Run a workflow; a function from a node's title to its first picture."""
    done = client.run(prompt)
    nodes = prompts.ids(prompt)
    return lambda title: Image.open(io.BytesIO(client.images(done, nodes[title])[0])).convert("RGB")


def do_words(prompt):
    """What is asked, as "do(weather = rainy, house = blue)"."""
    asked = [f"{name} = {value}" for i in prompts.of_class(prompt, "CSG_GraphEditor") if i["graph_json"]
             for name, value in read_json(i["graph_json"]).interventions.items()]
    asked += [f"{i['concept']} = {i['value'] or 'as it is'}" for i in prompts.of_class(prompt, "CSG_Intervene")]
    return f"do({', '.join(asked)})"


def write(pen, at, text, size, colour=INK, anchor="ma"):
    pen.text(at, text, colour, font_for(text, size), anchor=anchor)


def pair(before, after, words):
    """Two pictures side by side, what was asked above them."""
    page = Image.new("RGB", (2 * SIDE + 3 * GAP, SIDE + 112), PAPER)
    pen = ImageDraw.Draw(page)
    write(pen, (page.width // 2, 18), words, 26)
    for i, (picture, name) in enumerate(((before, "what is"), (after, "what would have been"))):
        x = GAP + i * (SIDE + GAP)
        page.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, 62))
        write(pen, (x + SIDE // 2, 62 + SIDE + 12), name, 20, MUTED)
    return page


def scene_of(prompt):
    """The picture that a workflow begins with, where it does not save it."""
    scene, = prompts.of_class(prompt, "CSG_TownScene")
    noise = exogenous(scene["seed"])
    return Image.fromarray(render(noise, evaluate(noise))[0])


def fitted(picture, width, height):
    """The picture as large as it goes into a page of this size, on paper."""
    page = Image.new("RGB", (width, height), PAPER)
    picture = picture.copy()
    picture.thumbnail((width - GAP, height - GAP), Image.Resampling.LANCZOS)
    page.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return page


def story(before, after, prompt):
    """The README's picture: what is, the graph with its intervention, what would have been."""
    editor, = prompts.of_class(prompt, "CSG_GraphEditor")
    graph = read_json(editor["graph_json"])
    shown = fitted(draw(propagate(graph, graph.effects)), 720, SIDE + 60)
    page = Image.new("RGB", (2 * SIDE + 720 + 2 * GAP, SIDE + 100), PAPER)
    pen = ImageDraw.Draw(page)
    page.paste(shown, (GAP + SIDE, 20))
    for x, picture, name in ((GAP, before, "what is"), (GAP + SIDE + 720, after, "what would have been")):
        page.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, 30))
        write(pen, (x + SIDE // 2, 44 + SIDE), name, 20, MUTED)
    return page


def row(pictures, side=300):
    """Pictures side by side, each under its name."""
    page = Image.new("RGB", (len(pictures) * (side + GAP) + GAP, side + 72), PAPER)
    pen = ImageDraw.Draw(page)
    for i, (name, picture) in enumerate(pictures.items()):
        x = GAP + i * (side + GAP)
        write(pen, (x + side // 2, 16), name, 18)
        page.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (x, 50))
    return page


def error(picture, original, times=8):
    """Where two pictures differ: black where they are the same, the difference made bright."""
    return ImageChops.difference(picture, original).point(lambda level: min(255, times * level))


def keep_preserved_page(client):
    """A house painted blue: the error on Town's scene before and after Keep Preserved Pixels."""
    prompt = filled(prompts.read("town_counterfactual"), Edit(80000001, "house=blue"))
    nodes = {name: entry["class_type"] for name, entry in prompt.items()}
    sampler = next(name for name, kind in nodes.items() if kind == "CSG_Sampler")
    decoded = next(name for name, kind in nodes.items() if kind == "VAEDecode" and prompt[name]["inputs"]["samples"] == [sampler, 0])
    original = next(name for name, kind in nodes.items() if kind == "CSG_TownScene" and "counterfactual" not in prompt[name]["inputs"])
    kept = {"original": [original, 0], "edited": [decoded, 0], "masks": ["grown", 0], "feather": 8.0}
    prompt |= {"grown": {"class_type": "GrowMask", "inputs": {"mask": [sampler, 1], "expand": 16, "tapered_corners": False},
                         "_meta": {"title": "grown"}},
               "k": {"class_type": "CSG_KeepPreserved", "inputs": kept, "_meta": {"title": "kept"}},
               "kept": {"class_type": "SaveImage", "inputs": {"images": ["k", 0], "filename_prefix": "kept"}, "_meta": {"title": "all"}},
               "raw": {"class_type": "SaveImage", "inputs": {"images": [decoded, 0], "filename_prefix": "raw"}, "_meta": {"title": "raw"}}}
    picture = run(client, prompt)
    factual, raw, after = picture("factual"), picture("raw"), picture("all")
    return row({"original": factual, "edited and kept": after, "changed before, x 8": error(raw, factual),
                "changed after, x 8": error(after, factual)})


def undo_drift_page():
    """An exact counterfactual with a drift that is known, and what Undo Drift makes of it."""
    import torch

    from csg.images import to_pictures, to_tensor
    from csg.pictures.align import Drift, unwarped
    from csg.pictures.drift import undo_drift

    noise = exogenous(5)
    factual_, exact = (to_tensor(render(noise, evaluate(noise, do))[0]) for do in ({}, {"car": "red"}))
    moved = unwarped(exact, Drift((-5.3, 3.6), (0.97, 0.97), -0.6), (256, 256))[0] * torch.tensor([1.06, 0.97, 0.9]) + 0.02
    jpeg = io.BytesIO()
    to_pictures(moved)[0].save(jpeg, "JPEG", quality=85)
    edited = to_tensor(Image.open(jpeg))
    image, mask, report = undo_drift(factual_, edited, feather=2.0)
    print(report)
    mask = to_pictures(mask[..., None])[0]
    return row({"original": to_pictures(factual_)[0], "from an editor": to_pictures(edited)[0], "drift undone": to_pictures(image)[0],
                "what really changed": mask})


def audit_page():
    """Town's own model judges an edit that went wrong on purpose: the ground stayed dry, and the car was painted, too."""
    from csg.evaluation.audit import audit, slips
    from csg.evaluation.sheets import audit_sheet
    from csg.images import to_pictures, to_tensor
    from csg.town.weights import VLM_FOLDER
    from csg.vlm.local import LocalVLM

    noise = exogenous(3)
    before = evaluate(noise)
    bad = {"weather": "rainy", "ground": "dry", "car": "blue"}
    original, edited = (to_tensor(render(noise, evaluate(noise, do))[0]) for do in ({}, bad))
    graph = read_json(json.dumps(graph_document(before))).do({"weather": "rainy"})
    after = evaluate(noise, {"weather": "rainy"})
    follow = {name: value for name, value in after.items() if value != before[name] and name != "weather"}
    counterfactual = propagate(graph, follow)
    result = audit(LocalVLM(VLM_FOLDER), original, edited, counterfactual)
    print(result.report())
    lines = [result.report().splitlines()[0], *slips(result.slipped)]
    return to_pictures(audit_sheet(original, edited, draw(counterfactual, result.verdicts()), lines))[0]


def instruction_page():
    """A counterfactual of the street preset as a graph, and the instruction that is made of it."""
    from csg.causal.instruction import instruction

    graph = read_json((ROOT / "web" / "editor" / "presets" / "street.json").read_text(encoding="utf-8"))
    counterfactual = propagate(graph.do({"weather": "rainy"}), {"ground": "wet", "visibility": "hazy", "umbrellas": "open"})
    shown = fitted(draw(counterfactual), 900, 560)
    lines = textwrap.wrap(instruction(counterfactual), 92)
    page = Image.new("RGB", (900, shown.height + 28 * len(lines) + GAP), PAPER)
    page.paste(shown, (0, 0))
    pen = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        write(pen, (GAP, shown.height + 28 * i), line, 18, anchor="la")
    return page


def save(page, path):
    path.parent.mkdir(exist_ok=True)
    page.save(path, quality=86, optimize=True)
    print(path.relative_to(ROOT), page.size)


def pair_page(client, name):
    """The picture before and after, and what was asked; the README's picture along with one of them."""
    prompt = prompts.read(name)
    picture = run(client, prompt)
    before, after = picture("factual"), picture("counterfactual")
    if name == "town_day_to_night":
        save(story(before, after, prompt), ROOT / "docs" / "first.jpg")
    return pair(before, after, do_words(prompt))


def alone_page(client, name):
    """The same of a workflow that does not save the picture it begins with."""
    title, words = ALONE[name]
    prompt = prompts.read(name)
    return pair(scene_of(prompt), run(client, prompt)(title), words.format(do_words(prompt)))


def sheet_page(client, name):
    """The workflow's own sheet."""
    return fitted(run(client, prompts.read(name))("Compare"), 960, 640)


def asked_page(_, name):
    """The street of a workflow and the exact answers to its questions, which the workflow shows beside its edits."""
    prompt = prompts.read(name)
    noise = exogenous(prompts.inputs(prompt, "Scene number")["value"])
    asked, = prompts.of_class(prompt, "CSG_Questions")
    answers = {f"{name} = {value}, exact": {name: value} for _, do, _ in parse_questions(asked["questions"]) for name, value in do.items()}
    return row({name: Image.fromarray(render(noise, evaluate(noise, do))[0]) for name, do in ({"what is": {}} | answers).items()})


def drawn_page(_, name):
    """What a workflow asks, as a graph, and of which model."""
    prompt = prompts.read(name)
    editor, = prompts.of_class(prompt, "CSG_GraphEditor")
    follows, = prompts.of_class(prompt, "CSG_Propagate")
    graph = read_json(editor["graph_json"]).do({i["concept"]: i["value"] for i in prompts.of_class(prompt, "CSG_Intervene")})
    page = draw(propagate(graph, {**parse_assignments(follows["values"]), **graph.effects})).convert("RGB")
    write(ImageDraw.Draw(page), (page.width - 44, 28), DRAWN[name], 22, MUTED, anchor="ra")
    return page


THUMBNAILS = {name: page for names, page in ((PAIRS, pair_page), (ALONE, alone_page), (SHEETS, sheet_page), (DRAWN, drawn_page),
                                             (ASKED, asked_page))
              for name in names}
PAGES = {"keep-preserved": keep_preserved_page, "undo-drift": lambda client: undo_drift_page(),
         "audit": lambda client: audit_page(), "instruction": lambda client: instruction_page()}


def main():
    wanted = sys.argv[1:] or [*THUMBNAILS, *PAGES]
    if unknown := set(wanted) - {*THUMBNAILS, *PAGES}:
        sys.exit(f"There is no picture {', '.join(sorted(unknown))}; there are {', '.join([*THUMBNAILS, *PAGES])}.")
    with ComfyServer() as server:
        for name in wanted:
            if name in THUMBNAILS:
                save(THUMBNAILS[name](server.client, name), ROOT / "workflows" / f"{name}.jpg")
            else:
                save(PAGES[name](server.client), ROOT / "web" / "docs" / "images" / f"{name}.jpg")


if __name__ == "__main__":
    main()
