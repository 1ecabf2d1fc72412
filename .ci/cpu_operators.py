"""Lets torchvision's Python half load beside a CPU-only torch.

torchvision is published as CUDA builds only. Beside a CPU torch its compiled half stays unloaded, and the Python half
stops at the first operator it wants to describe. This module, started by a .pth file of the virtual environment,
declares those operators just before torchvision is first imported. It costs nothing until then.
"""

import sys
from importlib.abc import MetaPathFinder

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class BeforeTorchvision(MetaPathFinder):
    """Finds no module itself: it only notices that torchvision is about to be looked for."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare_operators()
        return None


def declare_operators():
    import torch

    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        torch.torchvision_operators = library  # the declarations live as long as this object


sys.meta_path.insert(0, BeforeTorchvision())
