"""The base class of losses."""

from __future__ import annotations

from typing import Any

from .._settings import represent
from .._standard import Array
from ..errors import XpnnError

__all__ = ["Loss"]


class Loss:
    """A measure of how wrong an output is; the base class of every loss.

    A loss of your own derives from it, calls ``super().__init__()``, keeps in `cache` what it
    needs, and defines `forward` and `backward`. It may leave out ``sample_weight``; then a network
    that has it cannot weigh samples.

    Attributes
    ----------
    cache : dict
        What `forward` leaves for `backward`.
    weight_sum : array, float or None
        What the last `forward` divided by to make a mean: the sum of the weights of the samples.
        By it the means of batches are put together. None in a loss that does not say; then it is
        the number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> class SumOfSquares(Loss):
    ...     def forward(self, input, target):
    ...         self.cache["difference"] = input - target
    ...         return (self.cache["difference"] ** 2).sum()
    ...
    ...     def backward(self):
    ...         return 2 * self.saved("difference")
    >>> loss = SumOfSquares()
    >>> float(loss.forward(np.asarray([[1.0], [3.0]]), np.asarray([[0.0], [1.0]])))
    5.0
    >>> loss.backward().tolist()
    [[2.0], [4.0]]
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, Any] = {}
        self.weight_sum: Array | float | None = None

    def forward(self, input: Array, target: Array, sample_weight: Array | None = None) -> Array:
        """Return the loss of a batch.

        Parameters
        ----------
        input : array, (N, ...), floating-point
            The output of the network. Not changed.
        target : array
            What it should have been; its shape depends on the loss. Not changed.
        sample_weight : array, (N,), optional
            How much each sample counts, >= 0. By default 1.

        Returns
        -------
        array, 0-d
            Of the input's dtype, on its device (a scalar of that dtype on NumPy): the weighted
            mean of the samples' losses, 0 if the weights sum to 0.

        Raises
        ------
        ShapeError
            If the shapes do not fit. What the values are is not looked at, as that would make the
            host wait for the device: see `prepare`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self) -> Array:
        """Return the gradient of the last `forward` by its input, and empty `cache`.

        Returns
        -------
        array
            A new array of the input's shape and dtype.

        Raises
        ------
        XpnnError
            If there was no forward pass since the last backward pass.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def prepare(self, target: Any, output_shape: tuple[int | None, ...] | None) -> Any:
        """Check targets on the host and cast them, before they go to a device.

        Parameters
        ----------
        target : numpy.ndarray
            Targets of any number of samples. Not changed.
        output_shape : tuple of int or None
            Shape of the network's output, of which the batch axis is not looked at; None if it
            is not known.

        Returns
        -------
        numpy.ndarray
            The targets, as `forward` takes them. The base class returns them unchanged.

        Raises
        ------
        DataError
            If the loss cannot use the values.
        ShapeError
            If the shape does not fit to the output.
        """
        return target

    def saved(self, name: str) -> Any:
        """Take out of `cache` what the last `forward` left under a name.

        Raises
        ------
        XpnnError
            If there was no forward pass since the last backward pass.
        """
        try:
            return self.cache.pop(name)
        except KeyError:
            raise XpnnError(
                f"{type(self).__name__}: backward needs a forward pass before it"
            ) from None

    def __repr__(self) -> str:
        return represent(self)
