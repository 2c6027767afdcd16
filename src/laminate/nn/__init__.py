"""Layers: each works on one example, holds only arrays and static fields, and takes its dtype from its input."""

from laminate.nn.attention import Attention as Attention
from laminate.nn.attention import Kernel as Kernel
from laminate.nn.attention import Mask as Mask
from laminate.nn.block import Block as Block
from laminate.nn.dropout import drop_path as drop_path
from laminate.nn.dropout import dropout as dropout
from laminate.nn.init import Initializer as Initializer
from laminate.nn.init import lecun_normal as lecun_normal
from laminate.nn.init import trunc_normal as trunc_normal
from laminate.nn.init import xavier_uniform as xavier_uniform
from laminate.nn.init import zeros as zeros
from laminate.nn.linear import Linear as Linear
from laminate.nn.mlp import Mlp as Mlp
from laminate.nn.mlp import SwiGlu as SwiGlu
from laminate.nn.mlp import gelu_exact as gelu_exact
from laminate.nn.mlp import gelu_tanh as gelu_tanh
from laminate.nn.norm import LayerNorm as LayerNorm
from laminate.nn.norm import RMSNorm as RMSNorm
from laminate.nn.patch import PatchEmbed as PatchEmbed
from laminate.nn.patch import patchify as patchify
from laminate.nn.patch import unpatchify as unpatchify
from laminate.nn.position import resize_grid as resize_grid
from laminate.nn.position import sincos_1d as sincos_1d
from laminate.nn.position import sincos_2d as sincos_2d
from laminate.nn.stack import Remat as Remat
from laminate.nn.stack import Stack as Stack
