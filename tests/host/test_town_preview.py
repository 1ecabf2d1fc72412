"""ComfyUI's preview of Town's latents while a picture is drawn."""

import torch


def test_the_preview_is_nearer_to_the_picture_than_with_the_colours_of_photographs(comfy):
    from comfy.latent_formats import SDXL
    from latent_preview import Latent2RGBPreviewer

    town, scene = (comfy.nodes.NODE_CLASS_MAPPINGS[name] for name in ("CSG_LoadTown", "CSG_TownScene"))
    model, _, vae = town.execute().args
    pictures = torch.cat([scene.execute(seed).args[0] for seed in (3, 20, 40)])
    latent = model.model.process_latent_in(vae.encode(pictures))
    small = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 8).movedim(1, -1) * 2 - 1

    def error(form):
        factors = torch.tensor(form.latent_rgb_factors), torch.tensor(form.latent_rgb_factors_bias)
        return (latent.movedim(1, -1) @ factors[0] + factors[1] - small).square().mean()

    own, photographs = model.model.latent_format, SDXL()
    assert own.scale_factor == photographs.scale_factor and isinstance(own, SDXL)
    assert error(own) < 0.75 * error(photographs)
    previewer = Latent2RGBPreviewer(own.latent_rgb_factors, own.latent_rgb_factors_bias, own.latent_rgb_factors_reshape)
    assert previewer.decode_latent_to_preview(latent).size == (32, 32)
