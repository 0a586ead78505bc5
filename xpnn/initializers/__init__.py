r"""Initial values of parameters.

An initializer is called as ``initializer(shape, rng)`` with a `xpnn.random.Stream` and returns a
NumPy array of float64: a seed gives the same weights on every library. A function of one's own that
does so is an initializer, too.

The scaled ones choose a variance by the number of inputs and outputs of a unit (`fans`). The
uniform ones draw from [-a, a) with a = sqrt(3 variance), the normal ones from an untruncated normal
distribution, as the papers have it (Keras cuts it off at two standard deviations).

==================================  ==========================  ================================
initializer                         variance                    made for
==================================  ==========================  ================================
`HeNormal`, `HeUniform`             2 / fan_in                  ReLU and its relatives
`GlorotNormal`, `GlorotUniform`     2 / (fan_in + fan_out)      tanh, sigmoid, linear layers
`LeCunNormal`, `LeCunUniform`       1 / fan_in                  tanh, SELU, linear layers
`Orthogonal`                        gain^2 / larger dimension   deep and recurrent layers
==================================  ==========================  ================================
"""

from __future__ import annotations

from ._fans import fans
from .constant import Constant, Ones, Zeros
from .named import Initializer, get
from .orthogonal import Orthogonal
from .scaled import GlorotNormal, GlorotUniform, HeNormal, HeUniform, LeCunNormal, LeCunUniform

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LeCunUniform",
    "Ones",
    "Orthogonal",
    "Zeros",
    "fans",
    "get",
]
