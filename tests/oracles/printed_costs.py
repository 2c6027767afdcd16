"""The costs that the paper prints in its Tables 7, 8 and 9, from the counts of the recipes."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from laminate.recipes.costs import layer_flops, vit_flops
from laminate.recipes.flatdino.costs import encoder_cost
from laminate.recipes.flatdino.recipe import FlatDinoRecipe
from laminate.recipes.generator.recipe import GeneratorRecipe
from laminate.recipes.network import TeacherConfig, VitConfig

TEACHER_PREFIX = 5
"""CLS and four registers, which DINOv2 carries beside its patches."""


@dataclass(frozen=True)
class PrintedCosts:
    """One row of the paper's Tables 7, 8 and 9, in GFLOPs for one image, as printed.

    The paper rounds the cost of every network to a tenth and goes on calculating with that.
    """

    linear: tuple[Decimal, ...]
    """12 S D² of one layer, for the transformer and its head (Table 7)."""
    attention: tuple[Decimal, ...]
    """2 S² D of one layer, likewise."""
    forward: Decimal
    backward: Decimal
    """Twice the forward pass (Table 8)."""
    train: Decimal
    encoding: Decimal
    """The teacher, and the tokenizer's encoder if there is one (Table 9)."""
    total: Decimal


def printed_costs(
    recipe: GeneratorRecipe, *, teacher: TeacherConfig, tokenizer: FlatDinoRecipe | None = None
) -> PrintedCosts:
    """The costs of training `recipe` on features of `teacher`, compressed by `tokenizer` or not at all (RAE)."""
    stacks = stacks_of(recipe)
    attention = [2 * recipe.tokens**2 * stack.dim for stack in stacks]
    linear = [layer_flops(s, recipe.tokens) - a for s, a in zip(stacks, attention, strict=True)]
    forward = sum((_gflops(vit_flops(stack, recipe.tokens), 1) for stack in stacks), Decimal(0))
    encoding = _gflops(teacher_flops(teacher), 1)
    if tokenizer is not None:
        encoding += _gflops(encoder_cost(tokenizer).flops, 1)
    return PrintedCosts(
        linear=tuple(_gflops(flops, 2) for flops in linear),
        attention=tuple(_gflops(flops, 2 if flops >= 10**7 else 3) for flops in attention),
        forward=forward,
        backward=2 * forward,
        train=3 * forward,
        encoding=encoding,
        total=encoding + 3 * forward,
    )


def teacher_flops(teacher: TeacherConfig) -> int:
    """Multiply-adds of the teacher's forward pass, a plain ViT with CLS and registers beside its patches."""
    if not teacher.depth:
        return 0
    vit = VitConfig(teacher.dim, teacher.depth, heads=1, hidden=4 * teacher.dim, mlp="gelu")
    return vit_flops(vit, teacher.patches + TEACHER_PREFIX)


def _gflops(flops: int, digits: int) -> Decimal:
    return (Decimal(flops) / 10**9).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def stacks_of(recipe: GeneratorRecipe) -> list[VitConfig]:
    return [recipe.network] if recipe.head is None else [recipe.network, recipe.head]
