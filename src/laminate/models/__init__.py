"""Networks made of layers."""

from laminate.models.ddt import Ddt as Ddt
from laminate.models.dit import Dit as Dit
from laminate.models.latent_shape import FlatLatent as FlatLatent
from laminate.models.latent_shape import GridLatent as GridLatent
from laminate.models.latent_shape import ImageLatent as ImageLatent
from laminate.models.latent_shape import LatentShape as LatentShape
from laminate.models.shared_dit import SharedDit as SharedDit
from laminate.models.vit import Trunk as Trunk
from laminate.models.vit import Vit as Vit
