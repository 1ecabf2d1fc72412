"""Makes the pictures that introduce the pack, from real runs of its workflows: `python .ci/pictures.py`.

Writes the template browser's picture beside every template, docs/first.jpg for the README, and pictures of help pages.
Needs the pack set up (make setup) and some minutes; no edit is shown that a workflow did not produce. With names, such as
`town_counterfactual` or `keep-preserved`, only those.
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
from workflows import TEMPLATES  # noqa: E402

PAIRS = ("town_counterfactual", "town_transformer", "town_day_to_night", "town_two_interventions")
DRAWN = {"your_own_photo": "SDXL", "sdxl_counterfactual": "SDXL", "sd35_counterfactual": "SD3.5", "flux_counterfactual": "Flux.1 dev",
         "qwen_image_counterfactual": "Qwen-Image", "z_image_counterfactual": "Z-Image",
         "qwen_image_edit_counterfactual": "Qwen-Image-Edit", "kontext_counterfactual": "Flux.1 Kontext"}
"""Their models cannot be had here: the photo that is asked for is told and the question is shown, no picture."""
PRESETS = ROOT / "web" / "editor" / "presets"
SIDE, GAP = 440, 28


def run(client, prompt):
    """Run a workflow; a function from a node's title, and a number where it has several, to its picture."""
    done = client.run(prompt)
    nodes = prompts.ids(prompt)
    return lambda title, number=0: Image.open(io.BytesIO(client.images(done, nodes[title])[number])).convert("RGB")


def saving(prompt, outputs):
    """The workflow with more pictures saved: a title to each [node, output]."""
    inputs = {title: {"images": output, "filename_prefix": "picture"} for title, output in outputs.items()}
    return prompt | {title: {"class_type": "SaveImage", "inputs": values, "_meta": {"title": title}} for title, values in inputs.items()}


def drawing(prompt):
    """The workflow with its counterfactual drawn, under the title "graph"."""
    propagated, = (name for name, entry in prompt.items() if entry["class_type"] == "CSG_Propagate")
    inputs = {"counterfactual": [propagated, 0]}
    return prompt | {"graph": {"class_type": "CSG_GraphPreview", "inputs": inputs, "_meta": {"title": "graph"}}}


def write(pen, at, text, size, colour=INK, anchor="ma"):
    pen.text(at, text, colour, font_for(text, size), anchor=anchor)


def tiles(pictures, below=None, side=360):
    """Pictures two to a row, each above its name; under all of them a graph. As square as can be, as the template browser shows them."""
    columns, height = min(2, len(pictures)), side + 44
    width = 2 * side + 3 * GAP
    rows = -(-len(pictures) // 2)
    below = below and fitted(below, width, width * below.height // below.width)
    page = Image.new("RGB", (width, GAP + rows * height + (below.height if below else 0)), PAPER)
    pen = ImageDraw.Draw(page)
    for i, (name, picture) in enumerate(pictures.items()):
        x = (width - columns * (side + GAP) + GAP) // 2 + i % 2 * (side + GAP)
        y = GAP + i // 2 * height
        page.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        write(pen, (x + side // 2, y + side + 8), name, 20, MUTED)
    if below:
        page.paste(below, (0, page.height - below.height))
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
               "k": {"class_type": "CSG_KeepPreserved", "inputs": kept, "_meta": {"title": "kept"}}}
    picture = run(client, saving(prompt, {"all": ["k", 0], "raw": [decoded, 0]}))
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

    graph = read_json((PRESETS / "street.json").read_text(encoding="utf-8"))
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
    """The picture before and after over the graph between them; the README's picture along with one of them."""
    prompt = prompts.read(name)
    picture = run(client, drawing(prompt))
    before, after = picture("factual"), picture("counterfactual")
    if name == "town_day_to_night":
        save(story(before, after, prompt), ROOT / "docs" / "first.jpg")
    return tiles({"what is": before, "what would have been": after}, picture("graph"))


def read_page(client, name):
    """The same of a workflow that does not save the picture it begins with, and whose graph is read from it."""
    prompt = prompts.read(name)
    picture = run(client, drawing(prompt))
    return tiles({"what is": scene_of(prompt), "what would have been": picture("counterfactual")}, picture("graph"))


def by_hand_page(client, name):
    """A picture, what became of it without a graph, and where its concepts acted."""
    prompt = prompts.read(name)
    picture = run(client, prompt)
    return tiles({"before": scene_of(prompt), "after": picture("edited")}, picture("Where each concept acted"))


def sheet_page(client, name):
    """The workflow's own sheet."""
    sheet = run(client, prompts.read(name))("Compare")
    return fitted(sheet, 800, max(256, 800 * sheet.height // sheet.width))


def asked(client):
    """A street, and the edits of all questions about it."""
    prompt = prompts.read("town_questions")
    noise = exogenous(prompts.inputs(prompt, "Scene number")["value"])
    lines, = prompts.of_class(prompt, "CSG_Questions")
    picture = run(client, saving(prompt, {"all": [prompts.ids(prompt)["Keep preserved pixels"], 0]}))
    names = ["; ".join(f"{name} = {value}" for name, value in one.do.items()) for one in parse_questions(lines["questions"])]
    return {"what is": Image.fromarray(render(noise, evaluate(noise))[0])} | {name: picture("all", i) for i, name in enumerate(names)}


def editor_page(client, name):
    """A picture, what an editor made of it with its drift undone, and the graph that it is held to."""
    prompt = prompts.read(name)
    original = prompts.ids(prompt)["The original picture"]
    picture = run(client, drawing(saving(prompt, {"original": [original, 0]})))
    return tiles({"original": picture("original"), "edited, drift undone": picture("edited")}, picture("graph"))


def drawn_page(_, name):
    """The photo that a workflow is made for in words, its question as a graph, and which model is asked."""
    prompt = prompts.read(name)
    editor, = prompts.of_class(prompt, "CSG_GraphEditor")
    graph = read_json(editor["graph_json"])
    return captioned(draw(propagate(graph, graph.effects)), f"{DRAWN[name]}. Your photo: {graph.base_prompt}")


def captioned(drawn, words):
    """A drawing under a few lines."""
    lines = textwrap.wrap(words, drawn.width // 12)
    page = Image.new("RGB", (drawn.width, drawn.height + 30 * len(lines) + GAP), PAPER)
    for i, line in enumerate(lines):
        write(ImageDraw.Draw(page), (40, GAP + 30 * i), line, 20, anchor="la")
    page.paste(drawn.convert("RGB"), (0, page.height - drawn.height))
    return page


def reader_page(*_):
    """A graph as a model that sees pictures is to write it: a preset stands for what cannot be read here."""
    graph = read_json((PRESETS / "portrait.json").read_text(encoding="utf-8"))
    return captioned(draw(graph), f"A model reads your photo and writes its graph. Of {graph.base_prompt}, for example:")


def served_page(_, name):
    """The scene that a model on a server is to read, and its true graph with what is asked."""
    prompt = prompts.read(name)
    scene, = prompts.of_class(prompt, "CSG_TownScene")
    do, = prompts.of_class(prompt, "CSG_Intervene")
    noise, done = exogenous(scene["seed"]), {do["concept"]: do["value"]}
    graph = read_json(json.dumps(graph_document(evaluate(noise)))).do(done)
    return tiles({"what is": scene_of(prompt)}, draw(graph))


def slider_page(client):
    """What the slider of Before and After shows at three places, of a real edit."""
    picture = run(client, prompts.read("town_counterfactual"))
    before, after = picture("factual"), picture("counterfactual")
    half = before.width // 2
    both = before.copy()
    both.paste(after.crop((half, 0, *after.size)), (half, 0))
    ImageDraw.Draw(both).line((half, 0, half, both.height), PAPER, 2)
    return row({"before: the line at the right": before, "the line in the middle": both, "after: the line at the left": after})


THUMBNAILS = dict.fromkeys(PAIRS, pair_page) | dict.fromkeys(DRAWN, drawn_page) | {
    "town_from_image": read_page, "town_by_hand": by_hand_page, "town_baselines": sheet_page, "town_dial": sheet_page,
    "any_editor": editor_page,
    "town_questions": lambda client, _: tiles(asked(client)), "sdxl_qwen3_vl": reader_page, "vlm_counterfactual": served_page}
PAGES = {"keep-preserved": keep_preserved_page, "undo-drift": lambda client: undo_drift_page(),
         "audit": lambda client: audit_page(), "instruction": lambda client: instruction_page(),
         "before-after": slider_page, "questions": lambda client: row(asked(client))}


def main():
    wanted = sys.argv[1:] or [*THUMBNAILS, *PAGES]
    if unknown := set(wanted) - {*THUMBNAILS, *PAGES}:
        sys.exit(f"There is no picture {', '.join(sorted(unknown))}; there are {', '.join([*THUMBNAILS, *PAGES])}.")
    with ComfyServer() as server:
        for name in wanted:
            if name in THUMBNAILS:
                save(THUMBNAILS[name](server.client, name), ROOT / "workflows" / f"{TEMPLATES[name]}.jpg")
            else:
                save(PAGES[name](server.client), ROOT / "web" / "docs" / "images" / f"{name}.jpg")


if __name__ == "__main__":
    main()
