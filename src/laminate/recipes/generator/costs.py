"""What a generator costs, without building it: parameters, and FLOPs as the paper counts them (appendix H).

One multiply-add is one FLOP; only the layers count, not embeddings, modulation or output.
"""

from laminate.recipes.costs import layer_parameters, vit_flops
from laminate.recipes.generator.recipe import GeneratorRecipe, SharedModulation
from laminate.recipes.network import VitConfig

_FOURIER = 512
"""Features of the time embedding."""
_SINUSOIDS = 256
"""Those of ViTok's."""


def generator_flops(recipe: GeneratorRecipe) -> int:
    """Multiply-adds of one forward pass over one latent."""
    if recipe.shared is not None:
        return vit_flops(recipe.network, recipe.tokens + recipe.shared.prefix)
    return sum(vit_flops(stack, recipe.tokens) for stack in _stacks(recipe))


def generator_parameters(recipe: GeneratorRecipe) -> int:
    """All trained numbers; frequencies and fixed position tables are not among them."""
    if recipe.shared is not None:
        return _shared_parameters(recipe, recipe.shared)
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


def _shared_parameters(recipe: GeneratorRecipe, shared: SharedModulation) -> int:
    network = recipe.network
    dim, labels = network.dim, recipe.classes + (recipe.class_dropout > 0)
    conditions = _linear(_SINUSOIDS, dim) + _linear(dim, dim) + (labels + 4 * dim + 2 * dim) * dim
    scale = 0 if shared.layer_scale is None else dim
    # Its norm has no weights, of which two are counted; its own part of the modulation has four.
    layer = layer_parameters(network) - 2 * dim + 4 * dim + scale
    ends = recipe.latent_dim * dim + _linear(dim, recipe.latent_dim) + shared.prefix * dim
    return conditions + network.depth * layer + ends


def _conditioned_layer(stack: VitConfig, *, affine: bool) -> int:
    without = 0 if stack.norm == "rms" or affine else 4 * stack.dim
    return layer_parameters(stack) - without + _linear(stack.dim, 6 * stack.dim)


def _linear(in_dim: int, out_dim: int) -> int:
    return (in_dim + 1) * out_dim


def _stacks(recipe: GeneratorRecipe) -> list[VitConfig]:
    return [recipe.network] if recipe.head is None else [recipe.network, recipe.head]
