"""Networks made of layers."""

from laminate.models.vit import Trunk as Trunk
from laminate.models.vit import Vit as Vit
