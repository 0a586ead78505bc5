"""Text for language models: characters as numbers, and windows of them as sequences."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import checked_number, checked_path, expect_kind
from ..errors import ConfigurationError, DataError
from .batches import as_count

__all__ = ["CharacterText", "Vocabulary", "load_text", "windows"]


class Vocabulary:
    """The characters of a text, with a number each: an id.

    Parameters
    ----------
    characters : iterable of str
        Any text, or characters. The ids 0 to K - 1 follow their order in Unicode.

    Attributes
    ----------
    characters : str
        Each character once; that of id k is ``characters[k]``.

    Raises
    ------
    DataError
        If there are none.

    Examples
    --------
    >>> vocabulary = Vocabulary("banana")
    >>> vocabulary
    Vocabulary('abn')
    >>> vocabulary.encode("nab").tolist(), vocabulary.decode([1, 0, 2])
    ([2, 0, 1], 'ban')
    """

    def __init__(self, characters: Iterable[str]) -> None:
        try:
            self.characters = "".join(sorted({c for part in characters for c in part}))
        except TypeError:
            raise ConfigurationError(f"Vocabulary: expected text, got {characters!r}") from None
        if not self.characters:
            raise DataError("Vocabulary: expected at least one character, got none")
        self._ids = {character: k for k, character in enumerate(self.characters)}

    def __len__(self) -> int:
        """Return the number of characters, K."""
        return len(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text, (L,).

        Raises
        ------
        DataError
            For a character that has no id; the message says where it is.
        """
        if not isinstance(text, str):
            raise DataError(f"Vocabulary: expected text, got {text!r}")
        try:
            ids = [self._ids[character] for character in text]
        except KeyError:
            place, wrong = next((i, c) for i, c in enumerate(text) if c not in self._ids)
            raise DataError(
                f"Vocabulary: character {wrong!r} at place {place} is none of the {len(self)} known"
            ) from None
        return np.asarray(ids, dtype=np.int64)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of ids, (L,) whole numbers.

        Raises
        ------
        DataError
            If one is no id, or they are not in one row.
        """
        array = np.asarray(ids)
        if array.size == 0:
            return ""
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"Vocabulary: expected ids, whole numbers of shape (L,), got {array.dtype} of "
                f"shape {array.shape}"
            )
        if array.min() < 0 or array.max() >= len(self):
            wrong = int(array[np.argmax((array < 0) | (array >= len(self)))])
            raise DataError(f"Vocabulary: expected ids of 0 ... {len(self) - 1}, got {wrong}")
        return "".join(self.characters[k] for k in array.tolist())


def windows(
    ids: ArrayLike, length: int, stride: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a text into sequences, and the sequences of what follows each character.

    ``x[n, t] = ids[n * stride + t]`` and ``y[n, t] = ids[n * stride + t + 1]``. A rest that is too
    short for a sequence is left out.

    Parameters
    ----------
    ids : array_like, (L,)
        Whole numbers.
    length : int
        Steps of a sequence, T >= 1.
    stride : int, optional
        Distance of two sequences, >= 1. By default ``length``: they do not overlap.

    Returns
    -------
    x, y : numpy.ndarray
        (N, T) of int64, with ``N = (L - T - 1) // stride + 1``.

    Raises
    ------
    ConfigurationError
        If length or stride is no whole number of at least 1.
    DataError
        If the ids are not one row of whole numbers, or too few for a sequence.

    Examples
    --------
    >>> x, y = windows([0, 1, 2, 3, 4, 5, 6], length=3)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    stride = length if stride is None else stride
    length, stride = as_count("length", length), as_count("stride", stride)
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"windows: expected ids, whole numbers of shape (L,), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if len(array) <= length:
        raise DataError(
            f"windows: a sequence of {length} characters and the one that follows need "
            f"{length + 1}, got {len(array)}"
        )
    cut = np.lib.stride_tricks.sliding_window_view(array.astype(np.int64), length + 1)[::stride]
    return np.array(cut[:, :-1], order="C"), np.array(cut[:, 1:], order="C")


@dataclass(frozen=True, eq=False, repr=False)
class CharacterText:
    """A text for a language model: sequences to train with, and sequences that are held out.

    Attributes
    ----------
    name : str
        What it is called.
    vocabulary : Vocabulary
        Of the whole text.
    x_train, y_train : numpy.ndarray, (N, T), int64
        Characters, and for each of them the one that follows.
    x_test, y_test : numpy.ndarray, (M, T), int64
        The same of the part that is held out; these sequences do not overlap.
    """

    name: str
    vocabulary: Vocabulary
    x_train: NDArray[np.int64]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.int64]
    y_test: NDArray[np.int64]

    def __repr__(self) -> str:
        return (
            f"<CharacterText {self.name}: {len(self.x_train)} + {len(self.x_test)} sequences of "
            f"{self.x_train.shape[1]}, {len(self.vocabulary)} characters>"
        )


def load_text(
    path: str | os.PathLike[str],
    length: int = 128,
    stride: int | None = None,
    test_fraction: float = 0.1,
    vocabulary: Vocabulary | None = None,
) -> CharacterText:
    r"""Load a text file for a language model of characters.

    The last part of the text is held out, as a whole: sequences of the two parts share no
    character. Ends of lines are ``\n``, whatever they are in the file.

    Parameters
    ----------
    path : path-like
        A file in UTF-8.
    length, stride
        Of the sequences to train with; see `windows`.
    test_fraction : float
        Share of the characters that is held out, 0 < test_fraction < 1.
    vocabulary : Vocabulary, optional
        For a network that has one already. By default that of this text, of both parts.

    Raises
    ------
    ConfigurationError
        If an argument is out of its range.
    DataError
        If the file cannot be read, is not in UTF-8, or is too short for a sequence in each part,
        or has a character that the given vocabulary lacks.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("song.txt").write_text("ten green bottles hanging on the wall\n" * 20)
    >>> text = load_text("song.txt", length=32)
    >>> text
    <CharacterText song: 21 + 2 sequences of 32, 15 characters>
    >>> text.vocabulary.decode(text.x_train[0])
    'ten green bottles hanging on the'
    """
    checked_number(
        "load_text", "test_fraction", test_fraction, low=0, high=1, open_low=True, open_high=True
    )
    if vocabulary is not None:
        expect_kind("load_text: vocabulary", vocabulary, Vocabulary)
    path = checked_path("load_text: path", path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8: {error.reason} at {error.start}") from error
    if not text:
        raise DataError(f"{path}: empty")
    known = Vocabulary(text) if vocabulary is None else vocabulary
    try:
        ids = known.encode(text)
        cut = len(ids) - math.floor(len(ids) * test_fraction + 0.5)
        train, test = windows(ids[:cut], length, stride), windows(ids[cut:], length)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return CharacterText(path.stem, known, *train, *test)
