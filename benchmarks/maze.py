"""The maze: networks with a belief against gated ones, through prunella's training loop.

Every configuration is trained on the same walks from several seeds; the epoch is chosen by the
error of the last step on walks for validation, and the table has the error on walks that nothing
was chosen with. A row is written when its run is finished, and rows that are there are not run
again, so the script can be stopped and called again. Networks called "equal" have the hidden size
that brings them nearest to the parameters of the PF network of their kind; "large" ones have four
times its hidden size; an ensemble averages the predictions of all seeds of the equal networks.

    python benchmarks/maze.py --search 3e-3 1e-2 1e-3 --data-seed 1 --seeds 0 --sequences 1000 \
        --epochs 12 --out maze-search.csv
    python benchmarks/maze.py --rates maze-search.csv --data-seed 2 --seeds 0 1 2 \
        --sequences 1000 --epochs 25 --out maze.csv
    python benchmarks/maze.py --only pf-lstm lstm-equal --seeds 0 1 2 --sequences 10000 \
        --steps 80 --particles 30 --hidden 64 --epochs 800 --batch 128 --learning-rate 5e-4 \
        --dropout 0.5 --out maze-published.csv

The first chooses a learning rate for each kind of network by walks for validation, the second
compares on other walks (docs/guide/recurrent-results.md). The third is the setting of Ma et al.
(AAAI 2020); the defaults are far smaller. Beside the table OUT there are OUT-curves.csv with one
row for each epoch, and OUT-weights/ with the best weights. Times are of one thread.
"""

from __future__ import annotations

from pathlib import Path

from _sequences import ANCHORS, CONFIGURATIONS, ENSEMBLES, compare, parser


def main() -> None:
    options = parser(__doc__, names=[*ANCHORS, *CONFIGURATIONS, *ENSEMBLES])
    options.add_argument("--task", default="maze10")
    options.add_argument("--sequences", type=int, default=500, help="walks to learn from")
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--out", type=Path, default=Path("maze.csv"))
    given = options.parse_args()
    compare(given, given.task)


if __name__ == "__main__":
    main()
