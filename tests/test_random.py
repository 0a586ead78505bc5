"""The random stream: Random123's bits, the same on every library, with the right distributions."""

from __future__ import annotations

import dataclasses
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from array_api_compat import array_namespace, device

from xpnn.errors import ConfigurationError
from xpnn.random import Stream, drop_threshold, keep_scale

ONES = 2**64 - 1

# Random123's tests/kat_vectors, lines "philox4x64 10": counter, key, the four words.
KNOWN_ANSWERS = {
    "zeros": (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    "ones": (
        (ONES, ONES, ONES, ONES),
        (ONES, ONES),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    "pi": (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
}

# (seed, stream, call, first block): each word at its ends, and the wrap below block 0 of call 0.
CORNERS = [
    (0, 0, 0, 0),
    (5, 6, 0, 3),
    (5, 6, 1, 0),
    (ONES, 0, 7, 2**32),
    (0, ONES, ONES, 2**61),
    (0x0123456789ABCDEF, 0xFEDCBA9876543210, 2**63, 777),
]


def philox_block(counter, key):
    """One block of Philox4x64-10 in Python integers: ten rounds of two 128-bit products."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + 0x9E3779B97F4A7C15) % 2**64
        k1 = (k1 + 0xBB67AE8584CAA73B) % 2**64
    return c0, c1, c2, c3


def kolmogorov_smirnov(sample, distribution):
    """Largest distance between the sample's distribution and ``distribution``, times sqrt(n)."""
    expected = distribution(np.sort(np.ravel(sample)))
    n = expected.size
    above = np.max(np.arange(1, n + 1) / n - expected)
    below = np.max(expected - np.arange(n) / n)
    return math.sqrt(n) * max(above, below)


# The distance exceeds this with probability 1e-3; the streams are fixed, so no test flickers.
KOLMOGOROV_LIMIT = 1.95


# ---------------------------------------------------------------------------- Philox


@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_reference_gives_the_known_answers(name):
    counter, key, words = KNOWN_ANSWERS[name]
    assert philox_block(counter, key) == words


@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_numpy_gives_the_known_answers_one_count_earlier(name):
    counter, key, words = KNOWN_ANSWERS[name]
    before = (sum(word << 64 * i for i, word in enumerate(counter)) - 1) % 2**256
    bits = np.random.Philox(key=key[0] + (key[1] << 64), counter=before)
    assert tuple(bits.random_raw(4).tolist()) == words


def test_words_begin_with_the_known_answer_of_zeros():
    assert tuple(Stream(0, 0).words(4).tolist()) == KNOWN_ANSWERS["zeros"][2]


@pytest.mark.parametrize(("seed", "stream", "call", "block"), CORNERS)
def test_words_are_blocks_of_the_reference(seed, stream, call, block):
    words = Stream(seed, stream, call).words(8, start=4 * block)
    expected = [
        *philox_block((block, call, 0, 0), (seed, stream)),
        *philox_block((block + 1, call, 0, 0), (seed, stream)),
    ]
    assert words.dtype == np.uint64
    assert words.tolist() == expected


def test_bits_are_16_bit_lanes_low_lane_first():
    stream = Stream(3, 1, 4)
    lanes = [
        word >> shift & 0xFFFF for word in stream.words(8).tolist() for shift in (0, 16, 32, 48)
    ]
    bits = stream.bits(32)
    assert bits.dtype == np.uint16
    assert bits.dtype.isnative
    assert bits.tolist() == lanes


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 15, 16, 17, 33, 4099])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
def test_start_is_an_offset_into_the_same_numbers(start, n):
    stream = Stream(11, 2, 9)
    assert stream.words(n, start=start).tolist() == stream.words(5000)[start : start + n].tolist()
    assert stream.bits(n, start=start).tolist() == stream.bits(5000)[start : start + n].tolist()


def test_the_last_start_stays_within_its_call():
    stream = Stream(1, 2, 3)
    assert stream.words(4, start=ONES).tolist()[1:] == list(
        philox_block((2**62, 3, 0, 0), (1, 2))[:3]
    )


# ------------------------------------------------------------------------- the stream


def test_stream_is_a_value():
    stream = Stream(1, 2, 3)
    assert stream == Stream(seed=1, stream=2, call=3)
    assert hash(stream) == hash(Stream(1, 2, 3))
    assert repr(stream) == "Stream(seed=1, stream=2, call=3)"
    assert pickle.loads(pickle.dumps(stream)) == stream
    with pytest.raises(dataclasses.FrozenInstanceError):
        stream.seed = 4


def test_at_changes_the_call_only():
    assert Stream(1, 2, 3).at(7) == Stream(1, 2, 7)
    assert Stream(1, 2).at(7).words(4).tolist() == Stream(1, 2, 7).words(4).tolist()


def test_numpy_integers_are_accepted_and_become_python_integers():
    stream = Stream(np.int32(1), np.uint64(ONES), np.int64(3)).at(np.uint8(4))
    assert stream == Stream(1, ONES, 4)
    assert {type(value) for value in dataclasses.astuple(stream)} == {int}
    assert stream.words(np.int64(3), start=np.int32(2)).shape == (3,)
    assert stream.mask((np.int64(3), 2), 0.5).shape == (3, 2)


@pytest.mark.parametrize("argument", ["seed", "stream", "call"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0, "1", None, True, np.float32(1)])
def test_stream_rejects_what_is_no_unsigned_64_bit_integer(argument, value):
    arguments = {"seed": 0, "stream": 0, "call": 0, argument: value}
    with pytest.raises(ConfigurationError) as error:
        Stream(**arguments)
    assert f"Stream: {argument} must be" in str(error.value)
    assert "2**64" in str(error.value)
    assert repr(value) in str(error.value)


def test_neighbours_in_seed_stream_call_and_place_are_unrelated():
    streams = [Stream(0, 0, 0), Stream(1, 0, 0), Stream(0, 1, 0), Stream(0, 0, 1), Stream(1, 1, 1)]
    n = 1 << 14
    bits = [stream.bits(n) for stream in streams] + [Stream(0, 0, 0).bits(n, start=n)]
    for i, first in enumerate(bits):
        for second in bits[:i]:
            # 16 n fair coins: the agreement is 8 n, with deviation 2 sqrt(n).
            agreement = 16 * n - int(np.sum(np.bitwise_count(first ^ second)))
            assert abs(agreement - 8 * n) < 4 * 2 * math.sqrt(n)


@pytest.mark.parametrize("method", ["words", "bits"])
def test_counts_and_starts_are_checked(method):
    draw = getattr(Stream(0), method)
    with pytest.raises(ConfigurationError, match=rf"Stream.{method}: n must be .* got -1"):
        draw(-1)
    with pytest.raises(ConfigurationError, match=rf"Stream.{method}: start must be .* got -5"):
        draw(1, start=-5)
    with pytest.raises(ConfigurationError, match=rf"Stream.{method}: n must be .* got 1.5"):
        draw(1.5)


@pytest.mark.parametrize("shape", [-1, (2, -1), (2.0,), "ab", None, (True,)])
def test_shapes_are_checked(shape):
    for draw in (Stream(0).uniform, Stream(0).normal, lambda shape: Stream(0).mask(shape, 0.5)):
        with pytest.raises(ConfigurationError, match="shape must be"):
            draw(shape)


# ----------------------------------------------------------------------------- masks


def test_mask_keeps_where_the_lane_reaches_the_threshold():
    stream = Stream(8, 3, 2)
    mask = stream.mask((6, 7), 0.3)
    assert mask.dtype == np.bool_
    assert (
        mask.tolist() == (stream.bits(42) >= 19661).reshape(6, 7).tolist()
    )  # 0.3 * 65536 = 19660.8


def test_mask_has_values_that_never_change():
    # From the definition, by the Python reference: part of what a seed promises.
    assert Stream(0, 0, 0).mask(8, 0.5).tolist() == [
        False, True, False, False, False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("start", [0, 1, 15, 16, 17, 250])
@pytest.mark.parametrize("rows", [0, 1, 3, 40])
def test_mask_of_a_part_is_the_part_of_the_mask(start, rows):
    stream = Stream(4, 2, 1)
    whole = stream.mask((100, 7), 0.4)
    part = stream.mask((rows, 7), 0.4, start=7 * start) if start <= 60 else None
    if part is not None:
        assert part.tolist() == whole[start : start + rows].tolist()
    flat = stream.mask(rows, 0.4, start=start)
    assert flat.tolist() == whole.ravel()[start : start + rows].tolist()


def test_mask_is_equal_on_every_library(backend):
    like = backend.state(np.zeros(3))
    expected = Stream(1, 2, 3).mask((13, 11), 0.37, start=5)
    mask = Stream(1, 2, 3).mask((13, 11), 0.37, like=like, start=5)
    assert array_namespace(mask) is array_namespace(like)
    assert mask.dtype == array_namespace(like).bool
    assert device(mask) == device(like)
    assert mask.shape == (13, 11)
    assert backend.to_host(mask).tolist() == expected.tolist()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_mask_drops_a_fraction_p(p):
    n = 1 << 20
    kept = int(np.sum(Stream(5, 2).mask(n, p)))
    keep = 1 - drop_threshold(p) / 65536
    assert abs(kept - n * keep) <= 4 * math.sqrt(n * keep * (1 - keep))


def test_mask_of_any_shape():
    assert Stream(0).mask((), 0.5).tolist() is False
    assert Stream(0).mask((3, 0, 2), 0.5).shape == (3, 0, 2)
    assert Stream(0).mask([2, 3], 0.5).shape == (2, 3)


def test_mask_is_a_fresh_writable_array():
    stream = Stream(0)
    first = stream.mask((4, 4), 0.5)
    first[...] = True
    assert not stream.mask((4, 4), 0.5).all()


def test_drop_threshold_and_keep_scale():
    assert drop_threshold(0.0) == 0
    assert drop_threshold(0.5) == 32768
    assert drop_threshold(0.3) == 19661
    assert drop_threshold(2**-18) == 0
    assert drop_threshold(1.0) == 65536
    assert drop_threshold(np.float32(0.5)) == 32768
    assert keep_scale(0.0) == 1.0
    assert keep_scale(0.5) == 2.0
    assert keep_scale(0.3) == 65536 / 45875


def test_scaled_mask_has_mean_one():
    n = 1 << 20
    mean = np.mean(Stream(1).mask(n, 0.3)) * keep_scale(0.3)
    assert abs(mean - 1) < 4 * math.sqrt(0.3 / 0.7 / n)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, 1j])
def test_probabilities_are_checked(p):
    for draw in (drop_threshold, keep_scale, lambda p: Stream(0).mask(3, p)):
        with pytest.raises(ConfigurationError, match=r"p must be a number in \[0, 1\], got"):
            draw(p)


@pytest.mark.parametrize("p", [1, 1.0, 1 - 2**-18])
def test_no_scale_where_nothing_is_kept(p):
    assert not Stream(0).mask(1000, p).any()
    with pytest.raises(ConfigurationError, match="keeps no element"):
        keep_scale(p)


# --------------------------------------------------------------------------- uniform


def test_uniform_takes_53_bits_of_a_word_each():
    stream = Stream(2, 4, 6)
    expected = [(word >> 11) / 2**53 for word in stream.words(6).tolist()]
    uniform = stream.uniform((2, 3))
    assert uniform.dtype == np.float64
    assert uniform.ravel().tolist() == expected


def test_uniform_is_uniform():
    sample = Stream(3).uniform((400, 500), -2.0, 6.0)
    assert sample.min() >= -2.0
    assert sample.max() < 6.0
    assert kolmogorov_smirnov(sample, lambda x: (x + 2) / 8) < KOLMOGOROV_LIMIT
    # Deviation of the mean: (high - low) / sqrt(12 n).
    assert abs(sample.mean() - 2.0) < 4 * 8 / math.sqrt(12 * sample.size)


def test_uniform_prefix_does_not_depend_on_the_shape():
    assert Stream(3).uniform(5).tolist() == Stream(3).uniform(50)[:5].tolist()


def test_uniform_never_rounds_to_high():
    # A float16 in [0.5, 1) rounds up to 1 once in 4096 draws if nothing stops it.
    sample = Stream(0).uniform(1 << 16, like=np.zeros(1, dtype=np.float16))
    assert sample.dtype == np.float16
    assert sample.max() == 1 - 2**-11
    sample = Stream(0).uniform(1 << 16, 1.0, 1.0 + 2**-20, like=np.zeros(1, dtype=np.float32))
    assert sample.min() == 1.0
    assert sample.max() == np.float32(1 + 7 * 2**-23)
    sample = Stream(0).uniform(1 << 16, 1.0, 1.0 + 2**-51)
    assert sorted(set(sample.tolist())) == [1.0, 1.0 + 2**-52]


def test_uniform_of_bounds_that_are_one_number_in_the_dtype():
    sample = Stream(0).uniform(100, 1.0, 1.0 + 1e-12, like=np.zeros(1, dtype=np.float32))
    assert set(sample.tolist()) == {1.0}


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (1.0, 1.0, "high"),
        (2.0, 1.0, "high"),
        (math.nan, 1.0, "low"),
        (0.0, math.inf, "high"),
        (-1.7e308, 1.7e308, "high"),
        ("0", 1.0, "low"),
    ],
)
def test_uniform_bounds_are_checked(low, high, name):
    with pytest.raises(ConfigurationError, match=rf"Stream.uniform: {name} must be"):
        Stream(0).uniform(3, low, high)


# ---------------------------------------------------------------------------- normal


def test_normal_is_box_muller():
    stream = Stream(9, 1)
    u = [(word >> 11) / 2**53 for word in stream.words(4).tolist()]
    expected = []
    for first, second in zip(u[::2], u[1::2], strict=True):
        radius = math.sqrt(-2 * math.log(1 - first))
        angle = 2 * math.pi * second
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    np.testing.assert_allclose(stream.normal(4), expected, rtol=1e-14)
    np.testing.assert_allclose(stream.normal(3, 5.0, 2.0), 5 + 2 * np.asarray(expected[:3]), 1e-14)
    assert stream.normal(3).dtype == np.float64


def test_normal_is_normal():
    n = 1 << 18
    sample = Stream(6).normal((512, 512))
    # Deviations of the sample's moments of n standard normal numbers.
    assert abs(sample.mean()) < 4 / math.sqrt(n)
    assert abs(np.mean(sample**2) - 1) < 4 * math.sqrt(2 / n)
    assert abs(np.mean(sample**3)) < 4 * math.sqrt(15 / n)
    assert abs(np.mean(sample**4) - 3) < 4 * math.sqrt(96 / n)
    erf = np.vectorize(math.erf)
    distance = kolmogorov_smirnov(sample, lambda x: 0.5 + 0.5 * erf(x / math.sqrt(2)))
    assert distance < KOLMOGOROV_LIMIT


def test_normal_halves_of_a_pair_are_uncorrelated():
    pairs = Stream(6).normal((1 << 17, 2))
    for power in (1, 2):
        a, b = pairs[:, 0] ** power, pairs[:, 1] ** power
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(len(pairs))


def test_normal_mean_and_std():
    sample = Stream(6).normal(1 << 16, mean=-3.0, std=0.5)
    assert abs(sample.mean() + 3) < 4 * 0.5 / 256
    assert abs(sample.std() - 0.5) < 4 * 0.5 / 256 / math.sqrt(2)
    assert set(Stream(6).normal(10, mean=2.0, std=0.0).tolist()) == {2.0}


def test_normal_prefix_does_not_depend_on_the_shape():
    assert Stream(3).normal(5).tolist() == Stream(3).normal(50)[:5].tolist()
    assert Stream(3).normal(0).shape == (0,)


@pytest.mark.parametrize(
    ("mean", "std", "name"), [(math.nan, 1, "mean"), (0, -1, "std"), (0, None, "std")]
)
def test_normal_arguments_are_checked(mean, std, name):
    with pytest.raises(ConfigurationError, match=rf"Stream.normal: {name} must be"):
        Stream(0).normal(3, mean, std)


# --------------------------------------------------------------------- on the libraries


@pytest.mark.parametrize("method", ["uniform", "normal"])
def test_floats_are_equal_on_every_library(method, backend_each_dtype):
    backend = backend_each_dtype
    like = backend.state(np.zeros(3))
    expected = getattr(Stream(1, 2, 3), method)((5, 7)).astype(backend.dtype)
    drawn = getattr(Stream(1, 2, 3), method)((5, 7), like=like)
    assert array_namespace(drawn) is array_namespace(like)
    assert drawn.dtype == like.dtype
    assert device(drawn) == device(like)
    assert backend.to_host(drawn).tolist() == expected.tolist()


@pytest.mark.parametrize("method", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", ["int64", "bool", "complex128", "torch.bfloat16"])
def test_floats_need_a_float_dtype(method, dtype):
    like = SimpleNamespace(dtype=dtype)
    with pytest.raises(ConfigurationError, match=rf"Stream.{method}: like must .*float32.*{dtype}"):
        getattr(Stream(0), method)(3, like=like)


# ----------------------------------------------------------------------- permutations


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_permutation_is_a_permutation(n):
    permutation = Stream(7).permutation(n)
    assert permutation.dtype == np.int64
    assert sorted(permutation.tolist()) == list(range(n))


def test_permutation_sorts_the_words():
    words = Stream(7, 1, 5).words(50).tolist()
    assert Stream(7, 1, 5).permutation(50).tolist() == sorted(range(50), key=words.__getitem__)


def test_permutations_of_two_calls_are_independent():
    n = 10000
    first, second = (Stream(7).at(call).permutation(n) for call in (0, 1))
    # Fixed points of a random permutation: Poisson with mean 1.
    assert np.sum(first == second) <= 6
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(n)


def test_every_permutation_of_four_is_equally_likely():
    draws = 2400
    codes = [tuple(Stream(7).at(call).permutation(4).tolist()) for call in range(draws)]
    counts = np.asarray([codes.count(code) for code in set(codes)])
    assert counts.size == 24
    # Chi-squared with 23 degrees of freedom exceeds 49.7 with probability 1e-3.
    assert np.sum((counts - draws / 24) ** 2) / (draws / 24) < 49.7


def test_permutation_length_is_checked():
    with pytest.raises(ConfigurationError, match=r"Stream.permutation: n must be .* got -1"):
        Stream(0).permutation(-1)
