"""Names of ViTok's networks."""

import pytest

from laminate.recipes.vitok_names import LETTERS, PUBLISHED, Sizes, parse, parse_generator


def test_a_name_says_the_sizes_of_both_halves():
    variant = parse("Ld4-Ld24/1x16x64")
    assert (variant.encoder, variant.decoder) == (Sizes(1024, 4, 16), Sizes(1024, 24, 16))
    assert (variant.patch, variant.channels, variant.patch_dim) == (16, 64, 768)
    assert parse("Td4-T/1x32x128").decoder == LETTERS["T"]
    assert parse("L/16x32") == parse("L-L/1x16x32")
    assert parse("5B-f32x256") == parse("Td4-T/1x32x256")
    assert len(PUBLISHED) == 9


def test_modifiers_come_in_any_order_with_or_without_a_letter():
    assert parse("Gh12w600d3/8x4").encoder == Sizes(600, 3, 12)
    assert parse("w512_d3_h8/1x16x8").encoder == parse("h8w512d3/1x16x8").encoder == Sizes(512, 3, 8)
    assert parse("d3/4x8").encoder == Sizes(768, 3, 12)
    assert parse("w64m4.0-Bm3.5/4x8").mlp_factor == 4.0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("B", "expected ENCODER-DECODER"),
        ("B/16", "expected ENCODER-DECODER"),
        ("B/1x2x3x4", "expected ENCODER-DECODER"),
        ("B/0x16", "expected ENCODER-DECODER"),
        ("350M-f16x63", "or published weights: 350M-f16x16"),
        ("X/1x16x64", "'X' in 'X/1x16x64' is no size"),
        ("/1x16x64", "is no size"),
        ("Bd4d5/1x16x64", "is no size"),
        ("Bd4.5/1x16x64", "is no size"),
        ("Bd4 /1x16x64", "is no size"),
        ("B-B-B/1x16x64", "names 3 halves"),
        ("Bd0/1x16x64", "must be at least 1"),
        ("Bm0/1x16x64", "m above 0"),
    ],
)
def test_what_is_no_name_is_refused_with_what_one_looks_like(name, said):
    with pytest.raises(ValueError, match=said):
        parse(name)


def test_names_of_generators():
    assert parse_generator("L/256").sizes == Sizes(1024, 24, 16)
    assert parse_generator("Gd32h20/512").sizes == Sizes(1728, 32, 20)
    assert parse_generator("w2048_d32_h32/256").sizes == Sizes(2048, 32, 32)
    assert parse_generator("Td2/16").tokens == 16
    assert parse_generator("d2/16").sizes == Sizes(1024, 2, 16)
    for wrong in ("L", "Q/256", "w64_d2_h2/x", "Lm3/256", "L/0"):
        with pytest.raises(ValueError, match=r"no ViTok generator|is no size"):
            parse_generator(wrong)
