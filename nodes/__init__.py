"""The nodes of the pack, one module per family. ComfyUI is imported only when it asks for the nodes."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension, io


def node_classes() -> list[type[io.ComfyNode]]:
    """Every node class of this package, family by family, each in the order in which it is written.

    A base class that is no node itself starts with an underscore.
    """
    from comfy_api.latest import io

    from .doors import guarded

    families = [importlib.import_module(f".{module.name}", __name__) for module in pkgutil.iter_modules(__path__)]
    return [
        guarded(member)
        for family in families
        for name, member in vars(family).items()
        if isinstance(member, type) and issubclass(member, io.ComfyNode)
        and member.__module__ == family.__name__ and not name.startswith("_")
    ]


def extension() -> ComfyExtension:
    """The object that ComfyUI asks for the pack's nodes."""
    from comfy_api.latest import ComfyExtension

    class CausalSemanticGuidance(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            return node_classes()

    return CausalSemanticGuidance()
