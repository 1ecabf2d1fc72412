"""Causal Semantic Guidance: counterfactual image editing in ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():  # noqa: ANN201  (its type lives in ComfyUI, which is imported only when it asks for us)
    """The pack as ComfyUI's extension object."""
    from .nodes import extension

    return extension()
