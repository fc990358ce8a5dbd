"""What a field that this API does not have is called here. Pure.

Clients were often written for another server: A1111's and ComfyUI's web APIs, diffusers' own
arguments, Hugging Face's and Replicate's endpoints. The nearest spelling is no help there.
"""

from collections.abc import Sequence

from serve.settings import nearest

# This API's name of a field, and what others call it.
NAMES = {
    "prompt": "text input inputs text_prompt positive_prompt prompts",
    "negative_prompt": "negative neg_prompt negativeprompt uc unconditional_prompt",
    "n": "batch_size batch_count num_images num_outputs num_images_per_prompt n_iter samples count",
    "size": "image_size resolution aspect_ratio dimensions",
    "num_inference_steps": "steps num_steps inference_steps sampling_steps sample_steps "
    "step_count ddim_steps",
    "guidance_scale": "cfg cfg_scale guidance scale true_cfg_scale",
    "seed": "random_seed noise_seed generator",
    "scheduler": "sampler sampler_name sampler_index sampling_method schedule",
    "output_format": "format file_type image_format",
    "output_compression": "compression output_quality jpeg_quality",
    "partial_images": "previews preview num_previews",
    "deadline_s": "deadline timeout timeout_s",
    "model": "model_id model_name checkpoint sd_model_checkpoint engine",
}
OURS = {other: name for name, others in NAMES.items() for other in others.split()}
SIDES = ("width", "height", "w", "h")
WRAPPERS = ("extra_body", "parameters", "options", "override_settings", "extra_params")


def hint(field: str, fields: Sequence[str]) -> str:
    """What to send in place of an unknown field: `; use 'num_inference_steps'`, or the nearest.

    Args:
        field: As it was sent; capitals and dashes do not matter.
        fields: The names there are.
    """
    word = field.lower().replace("-", "_")
    if word in SIDES:
        return "; use 'size', as WIDTHxHEIGHT: such as \"512x768\""
    if word in WRAPPERS:
        return "; send what is in it beside 'prompt'"
    plain = word.replace("_", "")
    for other, name in {**{name: name for name in fields}, **OURS}.items():
        if plain == other.replace("_", ""):
            return f"; use '{name}'"
    return nearest(field, list(fields))
