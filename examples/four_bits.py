"""The smallest training loop, written by hand: four bits, one Linear layer, gradient descent.

A committee of four votes with 0 or 1. Its chair, the first bit, has two votes, and three of the
five votes carry a motion. From 8 of the 16 possible ballots a network learns what the committee
decides; 4 more are for validation and 4 for the test. The loop has no helper: each step draws 4
ballots and calls ``net.train``, now and then ``net.eval`` looks at the rest. Labels are a column,
(N, 1), as in the tutorial that xpnn follows.

    python examples/four_bits.py

Figures, seeds 0, 1, 2, after 4000 steps: 8 of 8 ballots of the training part right with every
seed; validation 3, 3, 3 of 4; test 3, 3, 2 of 4. Eight ballots do not determine the rule: what the
network says of the others is a guess, if a good one. It takes half a second.
"""

from __future__ import annotations

import argparse

import numpy as np

import xpnn
from xpnn.random import Stream

TRAIN, VALIDATION, TEST = slice(0, 8), slice(8, 12), slice(12, 16)


def ballots() -> tuple[np.ndarray, np.ndarray]:
    """All 16 ballots, in a random order that is always the same, and what is decided."""
    order = Stream(seed=0, stream=7).permutation(16)
    bits = (order[:, None] >> np.array([3, 2, 1, 0])) & 1  # (16, 4)
    votes = bits @ np.array([[2], [1], [1], [1]])  # (16, 1)
    return bits, (votes >= 3).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--backend", help="numpy, cupy, torch, jax")
    parser.add_argument("--epochs", type=int, default=2000, help="of two steps each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    bits, decisions = ballots()
    net = xpnn.Sequential(
        [xpnn.Linear(4, 2)],
        xpnn.SoftmaxCrossEntropy(),
        lr=1e-2,
        device=options.device,
        backend=options.backend,
        seed=options.seed,
    )

    def right(part: slice) -> int:
        """How many ballots of a part the network decides as the committee does."""
        output = net.backend.to_host(net.eval(bits[part]))
        return int((output.argmax(axis=1)[:, None] == decisions[part]).sum())

    draws = Stream(options.seed)
    steps = 2 * options.epochs
    for step in range(steps):
        rows = draws.at(step).permutation(8)[:4]
        _, loss = net.train(bits[TRAIN][rows], decisions[TRAIN][rows])
        if step == 0 or (step + 1) % 1000 == 0:
            print(
                f"step {step + 1:4}  loss {float(loss):.4f}  "
                f"train {right(TRAIN)} of 8  validation {right(VALIDATION)} of 4"
            )
    print(f"after {steps} steps: train {right(TRAIN)} of 8, test {right(TEST)} of 4")


if __name__ == "__main__":
    main()
