"""What a transformer costs, without building it: parameters and forward FLOPs."""

from dataclasses import dataclass

from laminate.recipes.network import TeacherConfig, VitConfig


@dataclass(frozen=True)
class Cost:
    """Parameters of one transformer, and multiply-adds of one forward pass over one image."""

    parameters: int
    sequence: int
    flops: int

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters; {self.flops / 1e9:.2f} GFLOPs forward over {self.sequence} tokens "
            "(one multiply-add is one FLOP)"
        )


def layer_flops(vit: VitConfig, sequence: int) -> int:
    """Multiply-adds of one layer for one sequence: 4 S D² + 2 S² D for attention, and the MLP.

    The paper's convention (appendix H): one multiply-add is one FLOP; norms, biases, activations cost none.
    """
    attention = 4 * sequence * vit.dim**2 + 2 * sequence**2 * vit.dim
    matrices = 3 if vit.mlp == "swiglu" else 2
    return attention + matrices * sequence * vit.dim * vit.hidden


def frozen_flops(teacher: TeacherConfig) -> int:
    """Multiply-adds of a frozen network of usual proportions (an MLP four times as wide) for one image; 0 of
    patches."""
    usual = VitConfig(teacher.dim, max(teacher.depth, 1), 1, 4 * teacher.dim, mlp="gelu")
    return teacher.depth * layer_flops(usual, teacher.patches + 1)


def training_flops(trained: int, frozen: int = 0) -> int:
    """Multiply-adds of one example in training: forward and backward, which is twice as much, beside what is frozen."""
    return 3 * trained + frozen


def vit_flops(vit: VitConfig, sequence: int) -> int:
    """Multiply-adds of all layers; the projections in front and behind are not counted, as in the paper."""
    return vit.depth * layer_flops(vit, sequence)


def layer_parameters(vit: VitConfig) -> int:
    """Attention, MLP, two norms, and the scales of the QK norm."""
    bias = int(vit.bias)
    norm = vit.dim * (2 if vit.norm == "layer" else 1)
    attention = 4 * vit.dim**2 + bias * 4 * vit.dim
    qk = 2 * (vit.dim // vit.heads) if vit.qk_norm else 0
    matrices = 3 if vit.mlp == "swiglu" else 2
    mlp = matrices * vit.dim * vit.hidden + bias * ((matrices - 1) * vit.hidden + vit.dim)
    return 2 * norm + attention + qk + mlp


def vit_parameters(vit: VitConfig, *, in_dim: int, out_dim: int, tokens: int, registers: int) -> int:
    """Parameters of a transformer that reads `tokens` tokens of `in_dim` beside its own registers.

    A projection exists only where a width differs from the transformer's, and has no bias; the last norm is a
    LayerNorm.
    """
    projections = vit.dim * (in_dim * (in_dim != vit.dim) + out_dim * (out_dim != vit.dim))
    positions = tokens * vit.dim if vit.positions == "learned" else 0
    return projections + positions + registers * vit.dim + vit.depth * layer_parameters(vit) + 2 * vit.dim
