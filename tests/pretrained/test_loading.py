"""Teachers and autoencoders from published files: by name, folder or hub; other families, sizes and files refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from laminate.pretrained.dinov2 import DINOV2_REGISTERS
from laminate.pretrained.identify import identity, of_config
from laminate.pretrained.layouts import LAYOUTS
from laminate.pretrained.published import PUBLISHED, READERS
from laminate.pretrained.registry import KNOWN
from laminate.pretrained.teachers import (
    load_teacher,
    teacher_identity,
    teacher_shapes,
    vision_teacher,
)
from laminate.pretrained.tensors import open_tensors
from laminate.recipes.network import PRETRAINED_TEACHERS, find_teacher
from laminate.tokenizers import rae
from tests.oracles.arrays import normal
from tests.pretrained import checkpoints

IMAGE = jax.nn.sigmoid(normal(0, 21, 18, 3))
WEIGHTS = checkpoints.dinov2_weights()
CALL = jax.jit(lambda teacher, image: teacher(image))


@pytest.fixture
def folder(tmp_path):
    return checkpoints.write(tmp_path / "dinov2", WEIGHTS, checkpoints.DINOV2)


def test_a_folder_one_of_shards_and_its_file_are_one_teacher(folder, tmp_path):
    shards = checkpoints.write(tmp_path / "shards", WEIGHTS, checkpoints.DINOV2, parts=3)
    wanted = vision_teacher(DINOV2_REGISTERS, checkpoints.DINOV2, WEIGHTS, image_size=16)
    for source in (folder, str(shards), folder / "model.safetensors"):
        found = load_teacher(source)
        assert (found.tokens, found.dim) == (16, 12)
        assert jax.tree.all(jax.tree.map(np.array_equal, found, wanted))
    assert teacher_identity(folder) == teacher_identity(shards)


def test_other_weights_or_another_configuration_are_another_identity(folder, tmp_path):
    other = {**WEIGHTS, "embeddings.cls_token": WEIGHTS["embeddings.cls_token"] + 1e-3}
    assert teacher_identity(
        checkpoints.write(tmp_path / "other", other, checkpoints.DINOV2)
    ) != teacher_identity(folder)
    one, fewer = (
        of_config({**checkpoints.DINOV2, "num_attention_heads": heads}, DINOV2_REGISTERS) for heads in (3, 2)
    )
    assert identity(one, WEIGHTS) == teacher_identity(folder) != identity(fewer, WEIGHTS)


def test_the_size_of_its_images_and_the_format_of_its_weights_are_chosen(folder):
    small = load_teacher(folder, image_size=8, dtype=jnp.dtype(jnp.bfloat16), on_host=True)
    assert small.tokens == 4
    assert {(type(leaf), leaf.dtype.name) for leaf in jax.tree.leaves(small)} == {(np.ndarray, "bfloat16")}
    np.testing.assert_allclose(CALL(small, IMAGE), CALL(load_teacher(folder, image_size=8), IMAGE), atol=0.1)


def test_features_may_be_computed_in_another_format_than_that_of_the_image(folder):
    teacher = load_teacher(folder)
    narrow = jax.jit(lambda t, x: t(x, dtype=jnp.dtype(jnp.bfloat16)))(teacher, IMAGE)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), CALL(teacher, IMAGE), atol=0.15)


def test_shapes_need_no_weights_where_the_name_is_known(folder):
    whole = load_teacher(folder)
    shapes = teacher_shapes(folder)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), whole) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), shapes
    )
    large = teacher_shapes("dinov2-l", dtype=jnp.dtype(jnp.bfloat16))
    assert (large.tokens, large.dim) == (256, 1024)
    assert sum(leaf.size for leaf in jax.tree.leaves(large)) == 304_372_736 - 3 * 1024  # mask token, norm


# Refusals


def refused(source, message, **options):
    with pytest.raises((ValueError, OSError)) as caught:
        load_teacher(source, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_another_family_is_called_what_it_is(tmp_path):
    mae = checkpoints.write(tmp_path / "mae", checkpoints.mae_weights())
    refused(
        f"dinov2-b={mae}",
        "looks like ViT-MAE (12 wide, 2 layers), you asked for DINOv2-B with registers (768 wide",
    )
    disguised = checkpoints.write(tmp_path / "disguised", checkpoints.mae_weights(), checkpoints.DINOV2)
    refused(
        disguised,
        "looks like ViT-MAE (12 wide, 2 layers), you asked for DINOv2 with registers (12 wide, 2 layers)",
    )


def test_another_size_is_called_what_it_is(folder, tmp_path):
    refused(
        f"dinov2-l={folder}", "looks like DINOv2 with registers (12 wide, 2 layers), you asked for DINOv2-L"
    )
    smaller = {**checkpoints.DINOV2, "num_hidden_layers": 1}
    wrong = checkpoints.write(tmp_path / "wrong", WEIGHTS, smaller)
    refused(
        wrong,
        "looks like DINOv2 with registers (12 wide, 2 layers), you asked for DINOv2 with registers (12 wide, 1",
    )


def test_what_says_too_little_of_itself_is_refused(tmp_path):
    bare = checkpoints.write(tmp_path / "bare", WEIGHTS)
    refused(bare, "of no published size, and there is no config.json beside it")
    decoder = checkpoints.write(tmp_path / "decoder", checkpoints.decoder_weights())
    refused(decoder, "holds an RAE decoder (8 wide, 2 layers); a teacher is one of DINOv2")
    unknown = checkpoints.write(tmp_path / "unknown", {"a": np.zeros(3, np.float32)})
    refused(unknown, "holds names of no known layout; a teacher is one of")


def test_absent_places_names_and_sizes_are_refused(folder, tmp_path):
    refused(tmp_path / "absent", "There is no file or folder")
    refused("dinov2-x", "There are no known weights named 'dinov2-x': did you mean")
    refused(folder, "image_size=18 and patch=4", image_size=18)


# Tables that agree


def test_the_tables_of_names_say_the_same():
    for name, teacher in PRETRAINED_TEACHERS.items():
        one = PUBLISHED[name]
        assert (teacher.dim, teacher.depth) == one.size
        assert (teacher.image_size, teacher.patch_size) == (one.image_size, one.patch)
        assert teacher.family == one.family.name
        assert KNOWN[name].family == next(
            layout.family for layout in LAYOUTS if layout.reader == teacher.family
        ) or (teacher.family == "dino")
    assert {layout.reader for layout in LAYOUTS} - {""} == READERS.keys()


def test_a_recipe_s_teacher_is_described_by_its_files(folder):
    found = find_teacher(str(folder), image_size=24, dtype="bfloat16")
    assert (found.name, found.image_size, found.patches) == (str(folder), 24, 36)
    assert (found.dim, found.depth, found.family, found.dtype) == (12, 2, "dinov2", "bfloat16")
    named = find_teacher(f"dinov2-b={folder}")  # not looked at before it is loaded
    assert (named.name, named.dim, named.patches) == (f"dinov2-b={folder}", 768, 256)
    pickled = find_teacher("mae-l=elsewhere.pth")  # of which no safetensors are published
    assert (pickled.name, pickled.dim) == ("mae-l=elsewhere.pth", 1024)
    with pytest.raises(ValueError, match="--teacher-image-size 24 is the nearest"):
        find_teacher(str(folder), image_size=25)


# Autoencoders


@pytest.fixture
def parts(folder, tmp_path):
    """Encoder, decoder and statistics, in places of their own."""
    decoder = checkpoints.write(tmp_path / "decoder", checkpoints.decoder_weights(), checkpoints.DECODER)
    save_file(checkpoints.statistics(12, 4), tmp_path / "stat.safetensors")
    return folder, decoder, tmp_path / "stat.safetensors"


def test_an_autoencoder_in_parts_encodes_and_decodes_an_image_in_three_lines(parts):
    encoder, decoder, statistics = parts
    model = rae.load(encoder=encoder, decoder=decoder, statistics=statistics)
    latents = jax.jit(lambda m, x: m.encode(x))(model, IMAGE)
    image = jax.jit(lambda m, z: m.decode(z))(model, latents)
    assert latents.shape == (16, 12) and image.shape == (8, 8, 3)
    features = CALL(load_teacher(encoder, resampling="bicubic"), IMAGE)
    variance = checkpoints.statistics(12, 4)["var"].reshape(12, 16).T
    np.testing.assert_allclose(latents, features / np.sqrt(variance + 1e-5), atol=1e-4)
    through = jax.jit(lambda m, x: m.pixels(x))(model, features)
    np.testing.assert_allclose(image, through, atol=1e-4)


RENAMES = (("attention.attention.query", "attention.to_q"), ("attention.attention.key", "attention.to_k"))
RENAMES += (("attention.attention.value", "attention.to_v"), ("attention.output.dense", "attention.to_out.0"))


def test_an_autoencoder_in_one_file_of_the_diffusers_library_is_the_same(tmp_path):
    """Its names, its buffers, its configuration, and its second epsilon."""
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "num_register_tokens": 4}
    encoder, decoder = checkpoints.dinov2_weights(**sizes), checkpoints.decoder_weights(in_dim=64)
    config = {**checkpoints.DINOV2, **sizes}
    apart = rae.load(
        encoder=checkpoints.write(tmp_path / "encoder", encoder, config),
        decoder=checkpoints.write(tmp_path / "decoder", decoder, checkpoints.DECODER),
    )
    weights = {f"encoder.model.{n}": a for n, a in encoder.items() if not n.startswith("layernorm.")}
    for name, array in decoder.items():
        for theirs, ours in RENAMES:
            name = name.replace(theirs, ours)
        weights[f"decoder.{name}"] = array
    mean, std = np.full((64, 4, 4), 0.25, np.float32), np.full((64, 4, 4), 2.0, np.float32)
    weights |= {"_latents_mean": mean, "_latents_std": std}
    weights |= {f"encoder_{part}": np.ones((1, 3, 1, 1), np.float32) for part in ("mean", "std")}
    stated = {
        **checkpoints.DECODER,
        "_class_name": "AutoencoderRAE",
        "encoder_type": "dinov2",
        "encoder_hidden_size": 64,
        "encoder_patch_size": 4,
        "encoder_num_hidden_layers": 2,
        "encoder_input_size": 16,
    }
    together = rae.load(checkpoints.write(tmp_path / "whole", weights, stated))
    encode = jax.jit(lambda m, x: m.encode(x))
    np.testing.assert_allclose(
        encode(together, IMAGE), (encode(apart, IMAGE) - 0.25) / (2.0 + 1e-5), atol=1e-5
    )
    assert together.encoder.image_size == 16


def test_parts_that_do_not_fit_and_half_a_request_are_refused(parts, tmp_path):
    encoder, decoder, statistics = parts
    other = checkpoints.write(tmp_path / "other", checkpoints.decoder_weights(in_dim=16), checkpoints.DECODER)
    with pytest.raises(ValueError, match="The encoder gives 12 numbers per token and the decoder takes 16"):
        rae.load(encoder=encoder, decoder=other)
    headless = checkpoints.write(tmp_path / "headless", checkpoints.decoder_weights())
    with pytest.raises(ValueError, match="A decoder 8 wide is none of the published ones"):
        rae.load(encoder=encoder, decoder=headless)
    with pytest.raises(
        ValueError, match=r"This looks like DINOv2 with registers .*, you asked for decoder of a rep"
    ):
        rae.load(encoder=encoder, decoder=encoder)
    with pytest.raises(ValueError, match="latent statistics are mean, var, or both"):
        rae.load(encoder=encoder, decoder=decoder, statistics=decoder)
    for asked in ({}, {"encoder": encoder}, {"source": encoder, "statistics": statistics}):
        with pytest.raises(ValueError, match="one source that holds everything, or encoder and decoder"):
            rae.load(**asked)


def test_a_config_that_says_another_type_of_encoder_is_refused(tmp_path):
    weights = {f"decoder.{n}": a for n, a in checkpoints.decoder_weights().items()}
    weights |= {f"encoder.model.{n}": a for n, a in WEIGHTS.items()}
    folder = checkpoints.write(tmp_path / "whole", weights, {**checkpoints.DECODER, "encoder_type": "clip"})
    with pytest.raises(ValueError, match="encoder_type='clip' is none of dinov2, siglip2, mae"):
        rae.load(folder)
    (folder / "config.json").write_text(json.dumps({**checkpoints.DECODER, "encoder_type": "mae"}))
    with pytest.raises(ValueError, match="looks like DINOv2 with registers"):
        rae.load(folder)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "model.", "teacher.backbone.", "model.module.encoder."],
)
def test_what_a_training_puts_in_front_of_every_name_does_not_matter(folder, tmp_path, prefix):
    weights = open_tensors(folder / "model.safetensors")
    save_file({prefix + name: array for name, array in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    plain, wrapped = load_teacher(folder), load_teacher(tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, plain, wrapped))


@pytest.mark.parametrize("prefixes", [("student.", "teacher."), ("a.b.", "a.c."), ("", "module.")])
def test_two_networks_in_one_file_are_told_apart_in_one_short_line(folder, tmp_path, prefixes):
    weights = open_tensors(folder / "model.safetensors")
    save_file(
        {p + name: array for p in prefixes for name, array in weights.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match=r"keep the names that begin with|does not fit") as caught:
        load_teacher(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
