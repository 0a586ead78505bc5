"""A trained network with its preprocessing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.batches import as_count
from ..data.checks import as_host_array, check_finite
from ..data.standardization import Standardization
from ..errors import ConfigurationError
from ..losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ..network import Network

__all__ = ["Model"]


@dataclass
class Model:
    """A trained network with its preprocessing: what a model file holds.

    Parameters
    ----------
    network : Network
        Takes standardized samples.
    standardization : Standardization, optional
        Of the samples. By default they go to the network as they are.
    target_standardization : Standardization, optional
        Of the targets of a regression; undone on the outputs.
    class_names : tuple of str, optional
        K names of a classifier, the k-th for label k.
    extra : dict
        Whatever else was saved.

    Examples
    --------
    >>> import numpy as np, xpnn
    >>> net = xpnn.Sequential([xpnn.Linear(2, 2, seed=0)], xpnn.SoftmaxCrossEntropy(), lr=0.1)
    >>> net.layers[0].params["W"] = np.eye(2)
    >>> model = Model(net, class_names=("left", "right"))
    >>> model.predict([[3.0, 1.0], [1.0, 3.0]]).tolist()
    ['left', 'right']
    >>> model.probabilities([[3.0, 1.0]]).round(3).tolist()
    [[0.881, 0.119]]
    """

    network: Network
    standardization: Standardization | None = None
    target_standardization: Standardization | None = None
    class_names: tuple[str, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def output(self, x: ArrayLike, batch_size: int = 256) -> NDArray[Any]:
        """Return the outputs: logits of a classifier, or values in the unit of the targets.

        Parameters
        ----------
        x : array_like, shape (N, ...)
            Samples in their own unit, on the host.
        batch_size : int
            Rows computed at a time, >= 1.

        Returns
        -------
        numpy.ndarray, shape (N, ...)
            On the host.

        Raises
        ------
        ConfigurationError, DataError, ShapeError
            If the samples cannot be used.
        """
        batch_size = as_count("batch_size", batch_size)
        backend = self.network.backend
        array = as_host_array(backend.host_data(x), "x")
        check_finite(array, "x")
        parts = []
        for start in range(0, max(1, array.shape[0]), batch_size):
            part = array[start : start + batch_size]
            if self.standardization is not None:
                part = self.standardization.transform(part, dtype=backend.dtype)
            parts.append(backend.to_host(self.network.eval(part)))
        output: NDArray[Any] = np.concatenate(parts)
        if self.target_standardization is not None:
            output = self.target_standardization.inverse_transform(output)
        return output

    def predict(self, x: ArrayLike, batch_size: int = 256) -> NDArray[Any]:
        """Return what a user wants to know: the classes, or the values of a regression.

        Parameters and exceptions are those of `output`.

        Returns
        -------
        numpy.ndarray
            (N,) names of classes, or labels if there are no names; or the outputs of a network
            that does not choose one of several classes.
        """
        output = self.output(x, batch_size)
        logits = self._logits(output)
        if logits is None:
            return output
        labels: NDArray[Any] = np.argmax(logits, axis=1)
        if self.class_names is not None:
            if len(self.class_names) != logits.shape[1]:
                raise ConfigurationError(
                    f"class_names: expected {logits.shape[1]} names, one for each output of the "
                    f"network, got {len(self.class_names)}"
                )
            labels = np.asarray(self.class_names)[labels]
        return labels

    def probabilities(self, x: ArrayLike, batch_size: int = 256) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters and exceptions are those of `output`; and a ConfigurationError if the network
        does not choose one of several classes.

        Returns
        -------
        numpy.ndarray, shape (N, K), float64
            Rows with a sum of 1. If the network has one output, K is 2: "no" and "yes".
        """
        logits = self._logits(self.output(x, batch_size))
        if logits is None:
            loss = type(self.network.loss).__name__
            raise ConfigurationError(
                f"no probabilities: a network with the loss {loss} and these outputs does not "
                "choose one of several classes"
            )
        exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponential / exponential.sum(axis=1, keepdims=True)
        return probabilities

    def _logits(self, output: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return outputs as logits of classes, (N, K), if that is what they are."""
        rows = output.reshape(output.shape[0], math.prod(output.shape[1:])).astype(np.float64)
        if isinstance(self.network.loss, SoftmaxCrossEntropy):
            return rows
        if isinstance(self.network.loss, BinaryCrossEntropy) and rows.shape[1] == 1:
            return np.concatenate([np.zeros_like(rows), rows], axis=1)
        return None
