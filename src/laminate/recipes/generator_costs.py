"""What a generator costs, without building it: parameters, and FLOPs as the paper counts them (appendix H).

One multiply-add is one FLOP; only the layers count, not embeddings, modulation or output.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from laminate.recipes.costs import encoder_cost, layer_flops, layer_parameters, vit_flops
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.network import Teacher, Vit

_TEACHER_PREFIX = 5
"""CLS and four registers, which DINOv2 carries beside its patches."""
_FOURIER = 512
"""Features of the time embedding."""


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


def generator_flops(recipe: GeneratorRecipe) -> int:
    """Multiply-adds of one forward pass over one latent."""
    return sum(vit_flops(stack, recipe.tokens) for stack in _stacks(recipe))


def printed_costs(
    recipe: GeneratorRecipe, *, teacher: Teacher, tokenizer: FlatDinoRecipe | None = None
) -> PrintedCosts:
    """The costs of training `recipe` on features of `teacher`, compressed by `tokenizer` or not at all (RAE)."""
    stacks = _stacks(recipe)
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


def teacher_flops(teacher: Teacher) -> int:
    """Multiply-adds of the teacher's forward pass, a plain ViT with CLS and registers beside its patches."""
    if not teacher.depth:
        return 0
    vit = Vit(teacher.dim, teacher.depth, heads=1, hidden=4 * teacher.dim, mlp="gelu")
    return vit_flops(vit, teacher.patches + _TEACHER_PREFIX)


def generator_parameters(recipe: GeneratorRecipe) -> int:
    """All trained numbers; frequencies and fixed position tables are not among them."""
    network, head = recipe.network, recipe.head
    last = network if head is None else head
    labels = recipe.classes + (recipe.class_dropout > 0)
    embeddings = sum(_linear(recipe.features, stack.dim) for stack in _stacks(recipe))
    conditions = _linear(_FOURIER, network.dim) + _linear(network.dim, network.dim) + labels * network.dim
    positions = recipe.tokens * network.dim if network.positions == "learned" else 0
    layers = sum(stack.depth * _conditioned_layer(stack, affine=head is None) for stack in _stacks(recipe))
    project = 0 if head is None or head.dim == network.dim else _linear(network.dim, head.dim)
    norm = last.dim if last.norm == "rms" else 0
    output = norm + _linear(last.dim, 2 * last.dim) + _linear(last.dim, recipe.features)
    return embeddings + conditions + positions + layers + project + output


def _conditioned_layer(stack: Vit, *, affine: bool) -> int:
    without = 0 if stack.norm == "rms" or affine else 4 * stack.dim
    return layer_parameters(stack) - without + _linear(stack.dim, 6 * stack.dim)


def _linear(in_dim: int, out_dim: int) -> int:
    return (in_dim + 1) * out_dim


def _stacks(recipe: GeneratorRecipe) -> list[Vit]:
    return [recipe.network] if recipe.head is None else [recipe.network, recipe.head]


def _gflops(flops: int, digits: int) -> Decimal:
    return (Decimal(flops) / 10**9).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
