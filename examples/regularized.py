"""What regularization is for: BatchNorm, Dropout and L2 where there are few data.

Two networks learn handwritten digits from 300 images only: 64-128-128-10 with ReLU, and the same
with BatchNorm after, Dropout behind and an L2 penalty on every matrix of weights. Both learn
their 300 images by heart. The 359 images of the test part tell them apart.

    python examples/regularized.py

Figures (mean of the seeds 0 to 4, test part):

    plain          accuracy 0.946 (0.936 to 0.961)   loss 0.207 (0.173 to 0.239)
    regularized    accuracy 0.956 (0.947 to 0.967)   loss 0.128 (0.100 to 0.144)

The loss is better with every seed. The accuracy of seed 0 alone says the contrary, 0.961 plain and
0.953 regularized: one run of one network shows little. It takes a second. Needs scikit-learn,
which brings the images.
"""

from __future__ import annotations

import argparse

import xpnn
from xpnn.data import Standardization, load

HIDDEN = 128
ROWS = 300


def network(regularized: bool, options: argparse.Namespace) -> xpnn.Sequential:
    """64-128-128-10, with or without regularization."""
    layers: list[xpnn.Layer] = []
    width = 64
    for _ in range(2):
        layers.append(xpnn.Linear(width, HIDDEN))
        if regularized:
            layers.append(xpnn.BatchNorm(HIDDEN))
        layers.append(xpnn.ReLU())
        if regularized:
            layers.append(xpnn.Dropout(0.3))
        width = HIDDEN
    layers.append(xpnn.Linear(width, 10))
    return xpnn.Sequential(
        layers,
        xpnn.SoftmaxCrossEntropy(),
        # The penalty is for weights. By default it would be for biases, gamma and beta, too.
        regularization=xpnn.L2(1e-4, roles={"weight"}) if regularized else None,
        optimizer=xpnn.SGD(0.1, momentum=0.9),
        device=options.device,
        backend=options.backend,
        seed=options.seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--backend", help="numpy, cupy, torch, jax")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    digits = load("digits")
    x, y = digits.x_train[:ROWS], digits.y_train[:ROWS]
    standardization = Standardization("set").fit(x)  # on what is trained with, nothing else
    x, x_test = standardization.transform(x), standardization.transform(digits.x_test)

    for name, regularized in (("plain", False), ("regularized", True)):
        net = network(regularized, options)
        xpnn.fit(net, (x, y), options.epochs, batch_size=64, progress=False)
        train = xpnn.evaluate(net, (x, y), metrics=["accuracy"])
        test = xpnn.evaluate(net, (x_test, digits.y_test), metrics=["accuracy"])
        print(
            f"{name:<11}  train accuracy {train['accuracy']:.3f}  loss {train['loss']:.4f}   "
            f"test accuracy {test['accuracy']:.3f}  loss {test['loss']:.3f}"
        )


if __name__ == "__main__":
    main()
