"""Sampler mathematics in pure torch: schedules, inversions, attention masks, Causal Semantic Guidance.

Space: variance exploding, as k-diffusion and ComfyUI have it: x = x0 + sigma * noise, in model space (latents times the
latent format's factor). Models are callables ``denoise(x, sigma) -> denoised`` and nothing here knows what is inside.
"""
