"""Which recurrent layer remembers: an RNN, an LSTM and a GRU on the same task.

A sequence has 40 numbers between 0 and 1. Two of them are marked, one in the first half and one in
the second, and the network has to say their sum after the last step. This is the adding problem of
Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, but for its numbers, which are of -1 to
1 there and their sum scaled, and its lengths, which vary there. Who says 1 to everything has a mean
squared error of 1/6; who remembers only the second number, of 1/12. All three have 32 units, Adam
with a one-cycle rate up to 1e-2, 4000 sequences, 30 epochs.

    python examples/remember.py
    python examples/remember.py --steps 80

Figures (seed 0, NumPy, one thread): test error of the mean 0.1703, RNN 0.0546, LSTM 0.0003, GRU
0.0001. It takes 20 s. The gates keep a number over dozens of steps; a plain RNN loses it.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import xpnn
from xpnn.random import Stream

CELLS = {"RNN": xpnn.RNN, "LSTM": xpnn.LSTM, "GRU": xpnn.GRU}
TRAIN, TEST = 4000, 1000


def sums(rows: int, steps: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Make sequences of numbers with two marks, (rows, steps, 2), and the marked numbers' sums."""
    numbers = stream.at(0).uniform((rows, steps))
    half = steps // 2
    marked = (stream.at(1).uniform((rows, 2)) * half).astype(int) + np.asarray([0, half])
    marks = np.zeros((rows, steps))
    np.put_along_axis(marks, marked, 1.0, axis=1)
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40, help="length of the sequences")
    parser.add_argument("--width", type=int, default=32, help="hidden units")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--backend", help="numpy, cupy, torch, jax")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    x, y = sums(TRAIN, options.steps, Stream(options.seed, 2**40))
    x_test, y_test = sums(TEST, options.steps, Stream(options.seed, 2**40 + 1))
    constant = float(((y_test - y.mean()) ** 2).mean())
    print(f"mean     test error {constant:.4f}")
    for name, cell in CELLS.items():
        net = xpnn.Sequential(
            [cell(2, options.width, return_sequences=False), xpnn.Linear(options.width, 1)],
            xpnn.MeanSquaredError(),
            optimizer=xpnn.Adam(xpnn.OneCycle(options.lr), clip_norm=1.0),
            device=options.device,
            backend=options.backend,
            seed=options.seed,
        )
        start = time.perf_counter()
        history = xpnn.fit(net, (x, y), options.epochs, batch_size=50, progress=False)
        error = xpnn.evaluate(net, (x_test, y_test))["loss"]
        parameters = net.parameters.values.array.shape[0]
        seconds = time.perf_counter() - start
        print(
            f"{name:<4}  {parameters:>5} parameters  training error {history['loss'][-1]:.4f}  "
            f"test error {error:.4f}  {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()
