"""The paper's experiment as ComfyUI prompts: concepts of a picture, edits by every method, and their judgement.

Three stages, so that the vision-language model and the diffusion model take turns only twice. All settings of the
method stand in a shipped workflow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import prompts
from .comfy_client import ComfyClient, ComfyError, Run
from .prompts import Prompt

log = logging.getLogger(__name__)

TOWN = "town"
CONCEPTS, EDITS, VERDICTS = "concepts", "edits", "verdicts"
STAGES = (CONCEPTS, EDITS, VERDICTS)
DDIM, DDPM, LEDITS, CSG = "DDIM", "DDPM", "LEDITS++ direct", "CSG"
METHODS = (DDIM, DDPM, LEDITS, CSG)
AS_PUBLISHED = {
    "base": "unconditional", "mask": "intersect", "mask_source": "edit", "contrast": "unconditional", "cut": "quantile", "preserve": "off",
    "release": 0.0, "release_below": 0.0,
}  # fmt: skip
"""LEDITS++ (Brack et al. 2024) in the sampler's terms; what CSG adds is off."""
LEDITS_ON_TOWN = {
    "Invert": {"steps": 50, "skip": 0.15, "source_guidance": 1.0, "zero_noise_steps": 0},
    "Encode the edits": {"scale": 5.0, "threshold": 0.7, "warmup": 5, "strengths": ""},
}
"""In place of what Town's workflow tunes for CSG; for SDXL both are the workflow's."""
Link = list


@dataclass(frozen=True)
class VLM:
    """Who is asked: `server` (an address, with the model's name), `clip` (a text encoder's file) or `llm` (a folder)."""

    kind: str
    name: str
    model: str = ""

    @classmethod
    def parse(cls, text: str, model: str = "") -> VLM:
        """`http://.../v1`, `clip:FILE` or `llm:FOLDER`; raises ValueError for anything else."""
        if text.startswith(("http://", "https://")):
            return cls("server", text, model or "qwen3-vl:8b")
        kind, _, name = text.partition(":")
        if kind not in ("clip", "llm") or not name:
            raise ValueError(
                f"--vlm is {text!r}; expected an address like http://127.0.0.1:11434/v1, clip:FILE or llm:FOLDER."
            )
        return cls(kind, name)


@dataclass(frozen=True)
class Task:
    """One prompt's worth of work. `path` is the factual picture, or for a verdict the edited one."""

    stage: str
    sample: str
    path: Path
    number: int = 0
    method: str = ""
    caption: str = ""
    document: Mapping[str, Any] | None = None
    picture: bytes = b""

    def packed(self) -> Task:
        """The same with the picture in it, for a worker that may not see the file."""
        return replace(self, picture=self.path.read_bytes())

    @property
    def item(self) -> dict[str, Any]:
        """The fields that identify it within its stage."""
        return {"stage": self.stage, "sample": self.sample, "number": self.number, "method": self.method}


FIELDS = ("stage", "sample", "number", "method")


@dataclass(frozen=True)
class Answer:
    """What a task left behind: its record, and the edited picture."""

    record: dict[str, Any]
    picture: bytes | None = None


@dataclass(frozen=True)
class Study:
    """Everything that decides the results. `lpips` is its network, or empty for multi-scale SSIM."""

    checkpoint: str
    vlm: VLM
    lpips: str = ""
    seed: int = 0
    interventions: int = 3
    megapixels: float = 1.0
    cfg: float = 7.5
    steps: int | None = None

    @property
    def is_town(self) -> bool:
        """Whether the toy world is edited, which has a loader and a size of its own."""
        return self.checkpoint == TOWN

    @property
    def perception(self) -> str:
        """The perceptual distance by its name."""
        return f"LPIPS ({self.lpips})" if self.lpips else "1 - MS-SSIM"

    @property
    def method_settings(self) -> dict[str, Any]:
        """All that the method's own workflow decides, by the titles of its nodes."""
        return {title: self.settings(title)[0] for title in ("Invert", "Encode the edits", "Edit")}

    def settings(self, title: str) -> tuple[dict[str, Any], set[str]]:
        """The plain inputs of the node with this title in the method's own workflow, and the names of the connected ones."""
        name = "town_counterfactual" if self.is_town else "sdxl_counterfactual"
        inputs = prompts.inputs(prompts.read(name), title)
        plain = {key: value for key, value in inputs.items() if not isinstance(value, list)}
        return plain, set(inputs) - set(plain)


class Builder:
    """An API prompt that grows node by node; every node is called by what it is."""

    def __init__(self, study: Study) -> None:
        self.study, self.prompt = study, Prompt()

    def add(self, name: str, kind: str, **inputs: Any) -> str:  # noqa: ANN401
        """Add a node; the same name twice is the same node."""
        self.prompt.setdefault(name, {"class_type": kind, "inputs": inputs})
        return name

    def out(self, name: str, index: int = 0) -> Link:
        """A link to a node's output."""
        return [name, index]

    def loader(self) -> str:
        """The node with MODEL, CLIP and VAE."""
        if self.study.is_town:
            return self.add("load", "CSG_LoadTown")
        return self.add("load", "CheckpointLoaderSimple", ckpt_name=self.study.checkpoint)

    def vlm(self) -> Link:
        """The vision-language model."""
        one = self.study.vlm
        if one.kind == "server":
            key = "CSG_VLM_KEY" if one.name.startswith("https") else ""
            name = self.add(
                "vlm", "CSG_VLMServer", base_url=one.name, model=one.model, api_key_env=key, timeout_s=600.0
            )
        elif one.kind == "llm":
            name = self.add("vlm", "CSG_LoadVLM", model=one.name, dtype="auto", attention="sdpa")
        else:
            clip = self.add("vlm file", "CLIPLoader", clip_name=one.name, type="stable_diffusion", device="default")
            name = self.add("vlm", "CSG_VLMFromTextEncoder", clip=self.out(clip))
        return self.out(name)

    def picture(self, file: str) -> Link:
        """The factual picture at the size at which it is edited."""
        image = self.out(self.add("file", "LoadImage", image=file))
        if self.study.is_town:
            return image
        scaled = self.add("picture", "ImageScaleToTotalPixels", image=image, upscale_method="lanczos",
                          megapixels=self.study.megapixels, resolution_steps=64)  # fmt: skip
        return self.out(scaled)

    def text(self, name: str, text: str) -> Link:
        """CONDITIONING of a prompt."""
        return self.out(self.add(name, "CLIPTextEncode", text=text, clip=self.out(self.loader(), 1)))

    def counterfactual(self, document: Mapping[str, Any], direct: bool = False) -> Link:
        """The counterfactual of the record; `direct`: of the intervened concepts alone, every concept masked."""
        graph, values = document["graph"], document["values"]
        if direct:
            local = [concept | {"scope": "local"} for concept in graph["concepts"]]
            graph, values = graph | {"concepts": local}, {}
        name = " direct" if direct else ""
        editor = self.add(f"graph{name}", "CSG_GraphEditor", graph_json=json.dumps(graph))
        lines = "\n".join(f"{concept} = {value}" for concept, value in values.items())
        return self.out(self.add(f"counterfactual{name}", "CSG_Propagate", graph=self.out(editor), values=lines))


def concepts_prompt(study: Study, file: str, caption: str) -> Prompt:
    """Which concepts the picture has, and which interventions are worth trying."""
    b = Builder(study)
    image, vlm = b.picture(file), b.vlm()
    extracted = b.add("extract", "CSG_ExtractConcepts", vlm=vlm, image=image, description=caption, max_concepts=12 if study.is_town else 8,
                      temperature=0.1, max_tokens=2048, seed=study.seed)  # fmt: skip
    ideas = b.add("suggest", "CSG_SuggestInterventions", vlm=vlm, image=image, graph=b.out(extracted),
                  count=study.interventions, temperature=0.2, max_tokens=3072, seed=study.seed)  # fmt: skip
    b.add("told", "CSG_CounterfactualText", counterfactual=b.out(ideas))
    return b.prompt


def edit_prompt(study: Study, file: str, document: Mapping[str, Any], method: str) -> Prompt:
    """Invert and edit by one method, and compare the result with the factual picture."""
    b = Builder(study)
    load, image = b.loader(), b.picture(file)
    latent = b.out(b.add("latent", "VAEEncode", pixels=image, vae=b.out(load, 2)))
    by = _guided if method in (LEDITS, CSG) else _prompted
    samples = by(b, latent, document, method)
    edited = b.out(b.add("edited", "VAEDecode", samples=samples, vae=b.out(load, 2)))
    # Through the autoencoder too: the sizes agree, and the codec's own error does not count as a change.
    factual = b.out(b.add("factual", "VAEDecode", samples=latent, vae=b.out(load, 2)))
    kind, options = ("CSG_LPIPS", {"net": study.lpips}) if study.lpips else ("CSG_MSSSIM", {})
    b.add("perceptual", kind, image_a=factual, image_b=edited, **options)
    b.add("saved", "PreviewImage", images=edited)
    return b.prompt


def _guided(b: Builder, latent: Link, document: Mapping[str, Any], method: str) -> Link:
    """CSG as its workflow has it; LEDITS++ as published: the intervened concepts alone, on an inversion without a prompt."""
    direct = method == LEDITS
    invert, linked = b.study.settings("Invert")
    encode, edit = (b.study.settings(title)[0] for title in ("Encode the edits", "Edit"))
    if direct and b.study.is_town:
        invert, encode = invert | LEDITS_ON_TOWN["Invert"], encode | LEDITS_ON_TOWN["Encode the edits"]
    steps = b.study.steps or invert["steps"]
    encode |= {"warmup": round(encode["warmup"] * steps / invert["steps"])}
    invert |= {"steps": steps, "seed": b.study.seed}
    if direct:
        edit |= AS_PUBLISHED
    else:
        invert |= {name: _text_of(b, name, document) for name in linked & {"source", "negative"}}
    what = b.counterfactual(document, direct)
    edits = b.add("edits", "CSG_EncodeEdits", clip=b.out("load", 1), counterfactual=what, **encode)
    edit |= {"inversion": b.out(b.add("inversion", "CSG_Invert", model=b.out("load"), latent=latent, **invert))}
    return b.out(
        b.add("sampler", "CSG_Sampler", model=b.out("load"), edits=b.out(edits), positive=b.out(edits, 1), **edit)
    )


def _prompted(b: Builder, latent: Link, document: Mapping[str, Any], method: str) -> Link:
    """The whole interventional prompt under classifier-free guidance."""
    steps = b.study.steps or (50 if b.study.is_town else 100)
    prompts = {"source": _text_of(b, "source", document), "negative": _text_of(b, "negative", document)}
    guidance = 1.0 if b.study.is_town or method == DDIM else 3.5
    kind, options = "CSG_InvertDDIM", {}
    if method == DDPM:
        share = 0.16 if b.study.is_town else 0.36
        kind, options = "CSG_InvertDDPM", {"skip_steps": round(share * steps), "seed": b.study.seed}
    inversion = b.add(
        "inversion", kind, model=b.out("load"), latent=latent, steps=steps, source_guidance=guidance, **options, **prompts
    )
    return b.out(b.add("sampler", "CSG_EditWithPrompt", model=b.out("load"), inversion=b.out(inversion), cfg=b.study.cfg,
                       positive=b.text("interventional", document["prompt"])))  # fmt: skip


def _text_of(b: Builder, name: str, document: Mapping[str, Any]) -> Link:
    return b.text(name, document["graph"]["base_prompt"] if name == "source" else "")


def verdict_prompt(study: Study, file: str, document: Mapping[str, Any]) -> Prompt:
    """Does the model see every concept that should have changed?"""
    b = Builder(study)
    image, what = b.out(b.add("file", "LoadImage", image=file)), b.counterfactual(document)
    judge = b.add("judge", "CSG_Effectiveness", vlm=b.vlm(), image=image, counterfactual=what, seed=study.seed)
    b.add("score", "PreviewAny", source=b.out(judge))
    return b.prompt


def digest(content: bytes) -> str:
    """A hash that identifies a picture by its bytes."""
    return hashlib.sha256(content).hexdigest()[:24]


def attempt(client: ComfyClient, study: Study, task: Task) -> Answer | str:
    """Do one packed task; an error is returned as text, so that only this task is lost."""
    try:
        return perform(client, study, task)
    except Exception as error:
        log.debug("%s of %s failed", task.stage, task.sample, exc_info=True)
        return str(error) if isinstance(error, ComfyError) else f"{type(error).__name__}: {error}"


def perform(client: ComfyClient, study: Study, task: Task) -> Answer:
    """Do one packed task in a running ComfyUI. Raises ComfyError when it refuses or fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"csg-{digest(task.picture)}.png"
        path.write_bytes(task.picture)
        file = client.upload_image(path)
    if task.stage == CONCEPTS:
        return _concepts(client.run(concepts_prompt(study, file, task.caption)), task)
    if task.stage == EDITS:
        return _edited(client, study, client.run(edit_prompt(study, file, task.document, task.method)), task)
    return _judged(client.run(verdict_prompt(study, file, task.document)), task)


def _concepts(run: Run, task: Task) -> Answer:
    documents = [json.loads(text) for text in run.outputs["told"]["text"]]
    source = {"caption": task.caption, "picture": digest(task.picture)}
    return Answer(task.item | source | {"documents": documents, "seconds": run.seconds})


def _edited(client: ComfyClient, study: Study, run: Run, task: Task) -> Answer:
    measured = float(run.text("perceptual"))
    distance = measured if study.lpips else round(1 - measured, 4)
    figures = {"perceptual": distance, "seconds": run.seconds, "inversion_shared": "inversion" in run.cached}
    return Answer(task.item | figures, client.images(run, "saved")[0])


def _judged(run: Run, task: Task) -> Answer:
    verdicts = {entry["concept"]: bool(entry["answer"]) for entry in run.outputs["judge"]["csg_effectiveness"]}
    return Answer(task.item | {"verdicts": verdicts, "seconds": run.seconds})
