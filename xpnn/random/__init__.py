r"""Random streams: the same numbers on every array library and every device.

A `Stream` has no state. It is three integers, and each number that it gives is a pure function of
them and of the number's place, so a dropout mask does not depend on the library, the device, the
number of processes or on what was drawn before, and a program that resumes needs no generator
state::

    stream = Stream(seed=0, stream=4)
    for step in range(1000):
        keep = stream.at(step).mask(x.shape, p=0.5, like=x)  # on the library and device of x

Definition
----------
The generator is Philox4x64-10: a bijection of 256-bit counters, chosen by a 128-bit key, which
passes TestU01's BigCrush. Here the key is ``(seed, stream)``, the counter is
``(block, call, 0, 0)``, and each block is four 64-bit words. With the counter (c0, c1, c2, c3) and
the key (k0, k1), one round is

.. math::

    (h_0, l_0) &= \mathtt{D2E7470EE14C6C93} \cdot c_0, \quad
    (h_1, l_1) = \mathtt{CA5A826395121157} \cdot c_2, \\
    (c_0, c_1, c_2, c_3) &\leftarrow (h_1 \oplus c_1 \oplus k_0,\; l_1,\;
    h_0 \oplus c_3 \oplus k_1,\; l_0), \\
    (k_0, k_1) &\leftarrow (k_0 + \mathtt{9E3779B97F4A7C15},\;
    k_1 + \mathtt{BB67AE8584CAA73B}) \bmod 2^{64}

where h and l are the upper and lower 64 bits of a product; ten rounds make the block. From the
words follow

==============  ==================================================================================
words           word i is word i mod 4 of block i div 4
bits            lane i is bits 16 (i mod 4) to 16 (i mod 4) + 15 of word i div 4, low lane first:
                the words in little-endian order, read as 16-bit integers
mask            True (keep) where lane i >= round(65536 p): 16 elements a block
uniform         u_i = (word i div 2^11) / 2^53, then low + (high - low) u_i
normal          Box-Muller: u_2i and u_2i+1 give elements 2i and 2i + 1
permutation     the stable order of n words
==============  ==================================================================================

with element i in C order of the shape. Words, bits, masks and permutations are equal bit for bit
everywhere. ``normal`` is computed by NumPy in float64, whose logarithm and cosine may differ in the
last place from one processor to another.

Seeds, streams and calls that differ give unrelated numbers. The methods of one stream share its
words: draw a mask and then a permutation from streams that differ.

Source
------
J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3.
SC 2011. Constants and known answers: the authors' Random123 library.
"""

from __future__ import annotations

from .masks import MaskMaker, drop_threshold, keep_scale, set_mask_maker
from .stream import Stream, fresh_seed

__all__ = ["MaskMaker", "Stream", "drop_threshold", "fresh_seed", "keep_scale", "set_mask_maker"]
