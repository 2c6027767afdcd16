"""DINO-SAE's stages: their published numbers, what they refuse, and the commands that follow each other."""

from dataclasses import replace

import pytest

from laminate.cli.command import training_command
from laminate.recipes.dino_sae.chain import chain_name, is_chain, stage_flags
from laminate.recipes.dino_sae.costs import decoder_flops, stem_flops
from laminate.recipes.dino_sae.family import DINO_SAE
from laminate.recipes.dino_sae.flags import DinoSaeFlags
from laminate.recipes.dino_sae.presets import LAST, PRESETS, stages
from laminate.recipes.dino_sae.recipe import ConvDecoderConfig, LatentNoise, latent_of
from laminate.recipes.families import from_json, to_json

V2 = PRESETS["dino-sae-v2-1"]()


@pytest.mark.parametrize("name", PRESETS)
def test_every_stage_is_written_and_read_and_explained(name):
    recipe = PRESETS[name]()
    assert recipe.name == name and from_json(to_json(recipe)) == recipe
    said = DINO_SAE.text(recipe)
    assert (f"--init-from runs/{recipe.former}" in said.arguments) == bool(recipe.former)
    assert recipe.former in ("", *PRESETS)


def test_the_schedules_are_those_that_are_published():
    first, second = (PRESETS[f"dino-sae-v2-{stage}"]() for stage in (1, 2))
    assert (first.alignment, first.pixels, first.perceptual.weight) == (0.5, 1.0, 1.0)
    assert (first.schedule.peak, first.schedule.length, first.optimizer.betas) == (1e-5, 20, (0.9, 0.999))
    assert (first.optimizer.ema_decay, first.adversary.kind, first.noise.acts) == (0.9999, "none", False)
    assert (second.trains, second.alignment, second.adversary.weight) == ("decoder", 0.0, 0.5)
    assert (second.schedule.peak, second.schedule.length, second.optimizer.betas) == (5e-5, 40, (0.5, 0.9))
    assert second.adversary.optimizer.betas == (0.5, 0.9) and second.adversary.peak is None
    assert (second.adversary.discriminator_start, second.adversary.adversarial_start) == (0, 2)
    assert second.noise == LatentNoise(0.8, 1.2, 20) and not second.adversary.balanced
    assert (second.global_batch_size, second.optimizer.ema_decay) == (512, 0.9975)
    fourth = PRESETS["dino-sae-v1-4"]()
    assert (fourth.schedule.peak, fourth.global_batch_size, fourth.trains) == (5.4e-5, 256, "decoder")
    assert stages("dino-sae-v1-4") == tuple(f"dino-sae-v1-{stage}" for stage in (1, 2, 3, 4))
    latent = latent_of(second)
    assert (latent.tokens, latent.latent_dim, latent.image_size, latent.normalised) == (256, 1024, 256, False)
    assert (latent.grid, latent.token_norm) == ((16, 16), 14.0)
    other = replace(second, teacher=replace(second.teacher, name="other"), token_norm=9.5)
    assert latent_of(other).token_norm == 9.5 and from_json(to_json(other)) == other


def test_every_number_of_a_stage_in_steps_keeps_its_share():
    recipe = PRESETS["dino-sae-v2-2"]().in_steps(400)
    assert (recipe.adversary.adversarial_start, recipe.noise.ramp, recipe.tau_steps(7)) == (20, 200, 200)
    assert PRESETS["dino-sae-v2-2"]().tau_steps(7) == 140


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stem": (64, 128)},
            "token of the stem stands for 8 pixels along a side, and one of the teacher for 16",
        ),
        (
            {"decoder": ConvDecoderConfig((4, 8), (1, 1), ("residual", "residual"))},
            "token of the decoder stands for 2 pixels",
        ),
        ({"trains": "decoder"}, "alignment teaches the stem, and this stage trains the decoder alone"),
        (
            {"decoder": ConvDecoderConfig(widths=(192, 384, 384, 768, 768))},
            "ends with 768, which is no multiple of the teacher's 1024",
        ),
        ({"augment": replace(V2.augment, image_size=128)}, "128 and the teacher sees images of 256"),
        ({"alignment": -1.0}, "alignment must be at least 0"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(V2, **changes)


def test_a_decoder_needs_a_value_for_each_stage():
    with pytest.raises(ValueError, match="have a value for each stage, got 2, 1 and 2"):
        ConvDecoderConfig((4, 8), (1,), ("residual", "residual"))
    with pytest.raises(ValueError, match="has 5 behind 12: the 12 channels are repeated to four times 5"):
        ConvDecoderConfig((5, 12), (1, 1), ("residual", "residual"))
    with pytest.raises(ValueError, match="attention, got 5 for 8 channels"):
        ConvDecoderConfig((4, 8), (1, 1), ("residual", "attention"), head_dim=5)
    assert ConvDecoderConfig((4, 8), (1, 1), ("residual", "attention"), head_dim=4).patch_size == 2
    with pytest.raises(ValueError, match=r"noise\.start must be at least 0"):
        LatentNoise(-0.1)


def resolved(*arguments: str):
    return training_command(None, DINO_SAE, arguments=[*arguments, "--lpips", "lpips.safetensors"])[1]


def test_images_of_another_size_are_seen_as_they_are_if_their_patches_are_whole(capsys):
    recipe = resolved("--experiment", "dino-sae-v2-1", "--image-size", "512")
    assert (recipe.teacher.image_size, recipe.teacher.patches, recipe.image_size) == (512, 1024, 512)
    with pytest.raises(SystemExit):
        resolved("--experiment", "dino-sae-v2-1", "--image-size", "250")
    assert (
        "patches of 16 pixels, and 250 is no multiple of that: 256 is the nearest" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stages", "v2", "--init-from", "x"), "leave --init-from out"),
        (("--stages", "v2", "--experiment", "dino-sae-v1-1"), "name two trainings"),
        (("--stages", "v2", "--alone"), "--alone begins one stage without its former"),
        (("--experiment", "dino-sae-v2-1", "--adversary", "dino"), "has none, it begins in a later stage"),
        (("--experiment", "dino-sae-v3-1"), "Did you mean dino-sae-v2-1"),
    ],
)
def test_flags_that_mean_nothing_are_refused(capsys, arguments, message):
    with pytest.raises((SystemExit, ValueError)) as caught:
        resolved(*arguments)
    assert message in " ".join(f"{capsys.readouterr().err} {caught.value}".split())


def test_the_weights_of_lpips_have_to_be_named(capsys):
    with pytest.raises(SystemExit):
        training_command(None, DINO_SAE, arguments=["--stages", "v2"])
    assert "dino-sae-v2-2 compares images by LPIPS, whose weights are not there" in capsys.readouterr().err


def test_every_stage_of_a_schedule_begins_with_the_former_one():
    flags = DinoSaeFlags(stages="v1", adversary="windows", steps=7)
    assert flags.experiment == LAST["v1"] and is_chain(flags)
    each = stage_flags(flags, "runs/x")
    assert [one.experiment for one in each] == list(stages(LAST["v1"]))
    assert [one.run_dir for one in each] == [f"runs/x/stage-{stage}" for stage in (1, 2, 3, 4)]
    assert [one.init_from for one in each] == [None, *(f"runs/x/stage-{stage}" for stage in (1, 2, 3))]
    assert [one.adversary for one in each] == [None, "windows", "windows", "windows"]
    assert {one.steps for one in each} == {7}


def test_without_a_name_both_embedded_stages_are_trained_on_emoji():
    assert is_chain(DinoSaeFlags())
    for alone in ({"experiment": "embedded-sae-1"}, {"init_from": "x"}, {"alone": True}):
        assert not is_chain(DinoSaeFlags(**alone))
    assert chain_name("embedded-sae-2") == "embedded-sae"
    assert chain_name("dino-sae-v2-2+lr=1e-4") == "dino-sae-v2+lr=1e-4"


def test_costs_are_those_of_every_convolution():
    stem = 128**2 * 3 * 64 * 49 + 64**2 * 64 * 128 * 9 + 32**2 * 128 * 256 * 9 + 16**2 * 256 * 1024 * 9
    assert stem_flops(V2) == stem
    small = replace(
        PRESETS["embedded-sae-1"](),
        decoder=ConvDecoderConfig((12, 24, 48, 192), (1, 1, 1, 1), ("residual",) * 3 + ("attention",)),
    )
    attention = 4 * 192**2 + 2 * 192 * 32 + 3 * 4 * 192**2 + 8 * 192 * 9
    coarse = 64 * (9 * 192 * 192 + attention)
    up = 256 * (9 * 192 * 48 + 18 * 48**2) + 1024 * (9 * 48 * 24 + 18 * 24**2)
    up += 4096 * (9 * 24 * 12 + 18 * 12**2)
    assert decoder_flops(small) == coarse + up + 4096 * 9 * 12 * 3
