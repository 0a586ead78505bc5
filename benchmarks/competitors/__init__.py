"""All competitors, in the order of the report. xpnn comes first."""

from __future__ import annotations

from ..competitor import Competitor
from .jax_jit import JAX
from .numpy_im2col import NumPyIm2col
from .numpy_products import NumPyProducts
from .sklearn_mlp import ScikitLearn
from .thinc_chain import Thinc
from .torch_channels_last import TorchChannelsLast
from .torch_compiled import TorchCompiled
from .torch_eager import TorchEager
from .torch_fused import TorchFused
from .xpnn_fused import Xpnn
from .xpnn_jax import XpnnJAX
from .xpnn_layers import XpnnLayers
from .xpnn_portable import XpnnPortable

COMPETITORS: dict[str, type[Competitor]] = {
    kind.key: kind
    for kind in (
        Xpnn,
        XpnnPortable,
        XpnnLayers,
        XpnnJAX,
        TorchEager,
        TorchChannelsLast,
        TorchFused,
        TorchCompiled,
        JAX,
        Thinc,
        ScikitLearn,
        NumPyIm2col,
        NumPyProducts,
    )
}
