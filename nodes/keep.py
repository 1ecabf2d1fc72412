"""Nodes that keep inversions as files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..csg.diffusion import storage
from ..csg.diffusion.inversion import Inversion
from ..csg.writing import numbered
from . import sockets
from .sample import INVERSION

CATEGORY = "CSG/sampling"
SUFFIX = ".inversion.safetensors"


class SaveInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_SaveInversion",
            display_name="Save Inversion",
            category=CATEGORY,
            description="Keeps an inversion as a safetensors file, so that a picture need not be inverted again. Never overwrites.",
            search_aliases=["save noise", "store inversion", "csg"],
            is_output_node=True,
            inputs=[
                INVERSION,
                io.String.Input("filename_prefix", default="inversions/picture", tooltip="How the file's name begins, within the output folder."),
            ],
            outputs=[io.String.Output("file", tooltip="The file's path within the output folder.")],
        )

    @classmethod
    def execute(cls, inversion: Inversion, filename_prefix: str) -> io.NodeOutput:
        output = folder_paths.get_output_directory()
        folder, stem, first, *_ = folder_paths.get_save_image_path(filename_prefix, output)
        path = storage.save(inversion, numbered(folder, stem, first, SUFFIX))
        name = os.path.relpath(path, output)
        return io.NodeOutput(name, ui={"text": [name]})


class LoadInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_LoadInversion",
            display_name="Load Inversion",
            category=CATEGORY,
            description="Reads an inversion that Save Inversion wrote, from ComfyUI's input folder. It only fits the model that made it.",
            search_aliases=["load noise", "csg"],
            inputs=[io.Combo.Input("file", options=inversion_files(), tooltip="A file *.inversion.safetensors in ComfyUI's input folder.")],
            outputs=[sockets.Inversion.Output("inversion", tooltip="The inversion, for CSG Sampler.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return hashlib.sha256(input_file(file).read_bytes()).hexdigest()

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        try:
            there = input_file(file).is_file()
        except ValueError as error:
            return str(error)
        except OSError:  # no file has so long a name
            there = False
        return True if there else f"There is no inversion {file[:60]!r} in the input folder; copy it there from the output folder."

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(storage.load(input_file(file)))


def inversion_files() -> list[str]:
    """Names of the input folder's inversions."""
    folder = Path(folder_paths.get_input_directory())
    return sorted(p.name for p in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def input_file(name: str) -> Path:
    """The file in the input folder; ValueError for a name that leads elsewhere."""
    root = Path(folder_paths.get_input_directory()).resolve()
    path = root if "\0" in name else (root / name).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"The file {name[:60]!r} lies outside ComfyUI's input folder; copy it there first.")
    return path
