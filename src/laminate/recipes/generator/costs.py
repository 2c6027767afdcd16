"""What a generator costs, without building it: parameters, and FLOPs as the paper counts them (appendix H).

One multiply-add is one FLOP; only the layers count, not embeddings, modulation or output.
"""

from laminate.recipes.costs import layer_parameters, vit_flops
from laminate.recipes.generator.recipe import GeneratorRecipe
from laminate.recipes.network import VitConfig

_FOURIER = 512
"""Features of the time embedding."""


def generator_flops(recipe: GeneratorRecipe) -> int:
    """Multiply-adds of one forward pass over one latent."""
    return sum(vit_flops(stack, recipe.tokens) for stack in _stacks(recipe))


def generator_parameters(recipe: GeneratorRecipe) -> int:
    """All trained numbers; frequencies and fixed position tables are not among them."""
    network, head = recipe.network, recipe.head
    last = network if head is None else head
    labels = recipe.classes + (recipe.class_dropout > 0)
    embeddings = sum(_linear(recipe.latent_dim, stack.dim) for stack in _stacks(recipe))
    conditions = _linear(_FOURIER, network.dim) + _linear(network.dim, network.dim) + labels * network.dim
    positions = recipe.tokens * network.dim if network.positions == "learned" else 0
    layers = sum(stack.depth * _conditioned_layer(stack, affine=head is None) for stack in _stacks(recipe))
    project = 0 if head is None or head.dim == network.dim else _linear(network.dim, head.dim)
    norm = last.dim if last.norm == "rms" else 0
    output = norm + _linear(last.dim, 2 * last.dim) + _linear(last.dim, recipe.latent_dim)
    return embeddings + conditions + positions + layers + project + output


def _conditioned_layer(stack: VitConfig, *, affine: bool) -> int:
    without = 0 if stack.norm == "rms" or affine else 4 * stack.dim
    return layer_parameters(stack) - without + _linear(stack.dim, 6 * stack.dim)


def _linear(in_dim: int, out_dim: int) -> int:
    return (in_dim + 1) * out_dim


def _stacks(recipe: GeneratorRecipe) -> list[VitConfig]:
    return [recipe.network] if recipe.head is None else [recipe.network, recipe.head]
