"""One module per family of cases; each turns a file into the outputs that the file should hold."""

from collections.abc import Callable

import numpy as np

from laminate.pretrained.keymaps.base import KeyMapError

from ..reader import CannotRun, Comparison, Golden, compare
from . import (
    adm,
    adversarial,
    attention,
    autoencoders,
    classifiers,
    crop,
    decoder_step,
    dino_sae,
    discriminators,
    flatdino_generator,
    flatdino_vae,
    flatdino_vit,
    flatdino_vq,
    fsq,
    grammar,
    image_losses,
    image_quality,
    latent_sets,
    patches,
    perceptual,
    rae,
    schedules,
    set_distances,
    set_measures,
    sphere,
    stage2,
    stage2_losses,
    stage2_sampling,
    tokenizer_loss,
    torch_resize,
    unipc,
    vision,
    vitok,
    ways,
)

_FAMILIES: dict[str, Callable[[Golden], dict[str, np.ndarray]]] = {
    "01_flatdino_vae": flatdino_vae.produce,
    "01_flatdino_vit": flatdino_vit.produce,
    "02_flatdino_fsq": fsq.produce,
    "02_flatdino_vq": flatdino_vq.produce,
    "03_flatdino_dit": flatdino_generator.produce,
    "04_flatdino_sampling": flatdino_generator.sample,
    "04_flatdino_time_shift": flatdino_generator.time_shift,
    "04_flatdino_schedules": schedules.produce,
    "05_flatdino_decoder_gan_step": decoder_step.flatdino,
    "05_flatdino_diffaug": adversarial.diffaug_flatdino,
    "05_flatdino_dino_discriminator": discriminators.flatdino,
    "06_": vision.produce,
    "07_rae": rae.produce,
    "09_vavae_autoencoder": autoencoders.va,
    "10_gan_losses": adversarial.losses,
    "10_rae_diffaug": adversarial.diffaug_rae,
    "10_rae_dino_discriminator": discriminators.rae,
    "11_patchgan": discriminators.patchgan,
    "11_vavae_tokenizer_loss": tokenizer_loss.produce,
    "10_lpips": perceptual.lpips,
    "12_fid_is_kid_prc": set_measures.produce,
    "12_inception": perceptual.inception,
    "08_rae_ddt": stage2.produce,
    "08_rae_lightningdit": stage2.produce,
    "08_rae_sampling": stage2_sampling.rae,
    "08_rae_sde": stage2_sampling.stochastic,
    "08_rae_time_tables": stage2.time_tables,
    "08_rae_transport_loss": stage2_losses.transport,
    "09_lightningdit_loss": stage2_losses.lightningdit,
    "09_lightningdit_model": stage2.produce,
    "09_lightningdit_sampling": stage2_sampling.lightningdit,
    "13_sphere": sphere.produce,
    "13_dinosae_autoencoder": dino_sae.autoencoder,
    "13_dinosae_stem": dino_sae.stem,
    "16_dinosae_dcae_decoder": dino_sae.decoders,
    "14_vitok_ae": vitok.autoencoder,
    "14_vitok_dit": vitok.generator,
    "14_vitok_losses": image_losses.vitok,
    "14_vitok_patchify": patches.produce,
    "14_vitok_rope2d": vitok.rope,
    "14_vitok_unipc": unipc.produce,
    "15_pil_center_crop": crop.produce,
    "15_torch_resize": torch_resize.produce,
    "17_adm_protocol": adm.protocol,
    "17_sfid": adm.spatial,
    "18_knn": classifiers.neighbours,
    "18_linear_probe": classifiers.probe,
    "19_information": latent_sets.information,
    "20_dimension": latent_sets.dimension,
    "20_redundancy": latent_sets.patches,
    "21_distances": set_distances.produce,
    "22_image_quality": image_quality.produce,
    "24_autoencoder_dc": autoencoders.dc,
    "24_autoencoder_kl_flux2": autoencoders.flux2,
    "24_autoencoder_kl_qwenimage": autoencoders.qwen_image,
    "24_autoencoder_kl": autoencoders.kl,
    "23_attention": attention.produce,
    "23_interpolation": ways.produce,
}
_NOTES: dict[str, Callable[[Golden], str]] = {"10_rae_dino_discriminator": discriminators.rae_note}
_NAMES: dict[str, Callable[[Golden], tuple[list[Comparison], str]]] = {
    "04_flatdino_name_grammar": grammar.judge,
    "14_vitok_variants": vitok.judge_variants,
}


def judge(golden: Golden) -> tuple[list[Comparison], str]:
    """Every output of the file against what the library makes of its inputs, and a note on what the reader has to know.

    Raises CannotRun for a case of an unknown family or a configuration with an unknown option.
    """
    for family, judged in _NAMES.items():
        if golden.case.startswith(family):
            return judged(golden)
    for family, produce in _FAMILIES.items():
        if golden.case.startswith(family):
            note = _NOTES.get(family)
            return _compared(golden, produce), "" if note is None else note(golden)
    known = ", ".join(sorted([*_FAMILIES, *_NAMES]))
    raise CannotRun(f"{golden.path}: unknown case {golden.case!r}; known families are {known}")


def _compared(golden: Golden, produce: Callable[[Golden], dict[str, np.ndarray]]) -> list[Comparison]:
    try:
        return compare(golden, produce(golden))
    except (CannotRun, KeyMapError):
        raise
    except ValueError as error:  # a configuration or input that the library refuses
        raise CannotRun(f"{golden.path}: {error}") from error
