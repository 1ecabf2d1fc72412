"""The models that `town_vlm.py` asks: a server's, a text encoder of ComfyUI's, a folder; and how long each answer takes."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from in_process import pack_module, start_comfyui

from csg.evaluation.runner.comfy_client import ComfyError, find_comfyui
from csg.evaluation.runner.study import VLM
from csg.town.weights import MODELS, VLM_FOLDER
from csg.vlm.access import HOSTS_VARIABLE, KEY_PREFIX, checked_url, key_for
from csg.vlm.local import CONFIG, LocalVLM
from csg.vlm.protocol import Progress, Question, VisionLanguageModel, VLMError
from csg.vlm.server import ServerVLM

TIMEOUT_S = 600.0
SHIPPED = f"llm:{VLM_FOLDER.name}"


@dataclass(frozen=True)
class Ask:
    """One answer: its seconds, and its tokens where the backend tells them."""

    seconds: float
    tokens: int | None


class Watched:
    """A model whose answers are timed; `failed` once one could not be had at all."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm, self.asks, self.failed = vlm, [], False

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """The model's reply. Tokens are counted by the steps that the backend reports; fewer than two are no count."""
        steps = [0]

        def step(done: int, total: int) -> None:
            steps.append(done)
            if progress:
                progress(done, total)

        begin = time.perf_counter()
        try:
            reply = self.vlm.ask(question, step)
        except RuntimeError as error:  # a VLMError, the pack's own inside ComfyUI included, or a device's failure
            self.failed = True
            raise VLMError(str(error)) from error
        self.asks.append(Ask(time.perf_counter() - begin, max(steps) if max(steps) > 1 else None))
        return reply

    @contextmanager
    def counted(self) -> Iterator[list[Ask]]:
        """The answers given meanwhile."""
        self.asks = []
        yield self.asks


class On:
    """Keeps a model on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def make_room(self, size: int) -> torch.device:
        """The device; nothing has to leave it."""
        return self._device

    def bring(self, model: torch.nn.Module, beside: int) -> torch.device:
        """Bring the model there, at the first question."""
        if next(model.parameters()).device.type != self._device.type:
            model.to(self._device)
        return self._device


def called(one: VLM) -> str:
    """A name for a model that can be a file's: without addresses or folders."""
    name = one.model if one.kind == "server" else Path(one.name).stem if one.kind == "clip" else Path(one.name).name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def identity(one: VLM) -> str:
    """By which a model is known again: a server's by address and name, others by what their files hold."""
    if one.kind == "server":
        return f"{one.name} {one.model}"
    path = folder_of(one.name) if one.kind == "llm" else file_of(one.name)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode() + content.read(1 << 20))
    return f"{one.kind} {digest.hexdigest()[:16]}"


def folder_of(name: str) -> Path:
    """A model's folder: a path, or a name in ComfyUI's models/LLM or among those that the pack brings. VLMError for no such one."""
    places = [Path(name), MODELS / name]
    with suppress(ComfyError):  # a folder of its own needs no ComfyUI
        places.append(find_comfyui() / "models" / "LLM" / name)
    for place in places:
        if (place / CONFIG).is_file():
            return place
    raise VLMError(f"There is no model folder {name!r} with a {CONFIG}; expected a path, or a name in ComfyUI's models/LLM.")


def file_of(name: str) -> Path:
    """A text encoder's file: a path, or a name among ComfyUI's. VLMError for no such one."""
    if Path(name).is_file():
        return Path(name)
    try:
        _started()
    except ComfyError as error:
        raise VLMError(str(error)) from error
    import folder_paths

    path = folder_paths.get_full_path("text_encoders", name)
    if path is None:
        raise VLMError(f"There is no text encoder {name!r}; expected a path, or a name in ComfyUI's models/text_encoders.")
    return Path(path)


def opened(one: VLM, device: torch.device, dtype: str = "auto") -> Watched:
    """The model, ready to be asked. Raises VLMError for one that cannot be, and where a ComfyUI is needed and there is none."""
    make = {"server": lambda: _server(one), "clip": lambda: _text_encoder(one), "llm": lambda: _local(one, device, dtype)}
    try:
        return Watched(make[one.kind]())
    except RuntimeError as error:
        raise VLMError(str(error)) from error


def _server(one: VLM) -> ServerVLM:
    """The host is trusted, since whoever types the command names it; a key goes to https alone, as in the node."""
    host = urlsplit(one.name).netloc.rpartition("@")[2].casefold()
    url = checked_url(one.name, {host, re.sub(r":\d*$", "", host)})
    wanted = KEY_PREFIX if one.name.startswith("https") and os.environ.get(KEY_PREFIX) else ""
    key = key_for(url, wanted, os.environ.get(HOSTS_VARIABLE) or host, os.environ)
    return ServerVLM(url, one.model, api_key=key, timeout_s=TIMEOUT_S)


def _local(one: VLM, device: torch.device, dtype: str) -> LocalVLM:
    return LocalVLM(folder_of(one.name), dtype=dtype, place=On(device))


def _text_encoder(one: VLM) -> Any:
    """The node's own backend, inside this process; ComfyUI decides where it computes."""
    path = file_of(one.name)
    _started()
    import comfy.sd

    clip = comfy.sd.load_clip(ckpt_paths=[str(path)], clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION)
    return pack_module("nodes.host_vlm").TextEncoderVLM(clip)


@cache
def _started() -> None:
    """Make ComfyUI's modules importable, on the GPU where there is one."""
    start_comfyui(find_comfyui())
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
