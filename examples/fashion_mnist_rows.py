"""Fashion-MNIST for a recurrent network, which reads an image row by row, from above.

28 steps of 28 pixels; what a GRU or an LSTM of 128 units knows after the last one goes through
dropout and a linear layer. AdamW with a one-cycle rate up to 5e-3, a weight decay of 0.05 and
gradients clipped to a norm of 1, batches of 128, 12 epochs; images are mirrored or not.

    apt-get install dataset-fashion-mnist            # or --data-dir with the four IDX files
    python examples/fashion_mnist_rows.py
    python examples/fashion_mnist_rows.py --cell lstm
    python examples/fashion_mnist_rows.py --validate

Figures (test accuracy; NumPy, float32, one thread: without compiled kernels two to three minutes
each, with them one and a half; of the LSTM, seed 0 only):

    seed   0       1       2         mean
    gru    0.9059  0.9063  0.9119    0.9080
    lstm   0.9029

The GRU has 61,962 parameters. On the tenth of the training part that ``--validate`` holds out it
has 0.9110 with seed 0; the recipe was judged by that before the test part was looked at.
"""

from __future__ import annotations

import argparse
import sys
import time

import xpnn
from xpnn.data import Standardization, load, split

EPOCHS, BATCH_SIZE = 12, 128
WIDTH = 128


def network(options: argparse.Namespace) -> xpnn.Sequential:
    """Make a network that reads an image row by row, from above, and then says what it is."""
    cell = {"gru": xpnn.GRU, "lstm": xpnn.LSTM}[options.cell]
    return xpnn.Sequential(
        [
            cell(28, WIDTH, return_sequences=False),
            xpnn.Dropout(0.3),
            xpnn.Linear(WIDTH, 10),
        ],
        xpnn.SoftmaxCrossEntropy(),
        optimizer=xpnn.AdamW(xpnn.OneCycle(5e-3), weight_decay=0.05, clip_norm=1.0),
        device=options.device,
        backend=options.backend,
        seed=options.seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", choices=["gru", "lstm"], default="gru")
    parser.add_argument("--data-dir", help="folder of the four IDX files")
    parser.add_argument("--rows", type=int, help="train with so many images only")
    parser.add_argument("--validate", action="store_true", help="hold out a tenth, leave the test")
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--backend", help="numpy, cupy, torch, jax")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    fashion = load("fashion-mnist", data_dir=options.data_dir, layout="sequences")
    x, y = fashion.x_train, fashion.y_train
    part, x_held, y_held = "test", fashion.x_test, fashion.y_test
    if options.validate:  # always the same tenth, whatever the seed
        part = "validation"
        (x, y), (x_held, y_held) = split(x, y, fraction=0.1, seed=123, stratify=y)
    x, y = x[: options.rows], y[: options.rows]
    standardization = Standardization("set").fit(x)
    x, x_held = standardization.transform(x), standardization.transform(x_held)

    net = network(options)
    print(net.summary((28, 28), BATCH_SIZE), file=sys.stderr)
    start = time.perf_counter()
    history = xpnn.fit(
        net,
        (x, y),
        options.epochs,
        BATCH_SIZE,
        augment=xpnn.RandomFlip(),
        metrics=["accuracy"],
    )
    seconds = time.perf_counter() - start
    held = xpnn.evaluate(net, (x_held, y_held), metrics=["accuracy"])
    parameters = net.parameters.values.array.shape[0]
    print(f"{options.cell}, {parameters} parameters, seed {options.seed}, {len(x)} images")
    print(f"training    loss {history['loss'][-1]:.4f}  accuracy {history['accuracy'][-1]:.4f}")
    print(f"{part:<10}  loss {held['loss']:.4f}  accuracy {held['accuracy']:.4f}")
    print(f"{seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
