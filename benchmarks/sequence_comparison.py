"""Measured sequences: networks with a belief against gated ones, the same comparison as maze.py's.

Numbers of markets and weather, classes of speakers and of film snippets. The epoch is chosen on
the validation part, and so is the learning rate of each kind of network, from three; the test part
is looked at once, by the comparison. Rows that are there are not run again. Needs the packages of
`prunella[sequences]`, and for movie-snippets the text in DIR (docs/guide/sequences.md).

    python benchmarks/sequence_comparison.py --search 1e-3 3e-3 1e-2 --seeds 9 --epochs 20 \
        --batch 32 --out sequence-search.csv
    python benchmarks/sequence_comparison.py --rates sequence-search.csv --seeds 0 1 2 \
        --epochs 20 --batch 32 --out sequence-comparison.csv
    # the snippets: --tasks movie-snippets --data-dir DIR --sequences 2000 --epochs 5

Errors are in units of the training part's variance, or the share of sequences that are wrong; what
is reached without a network is in results/sequence-anchors.csv.
"""

from __future__ import annotations

from pathlib import Path

from _sequences import CONFIGURATIONS, ENSEMBLES, compare, parser

TASKS = ("nasdaq-range", "seattle-weather", "japanese-vowels")


def main() -> None:
    options = parser(__doc__, names=["constant", *CONFIGURATIONS, *ENSEMBLES])
    options.add_argument("--tasks", nargs="+", default=TASKS)
    options.add_argument("--sequences", type=int, help="to learn from, at most")
    options.add_argument("--steps", type=int, help="of a sequence, at most")
    options.add_argument("--data-dir", type=Path)
    options.add_argument("--out", type=Path, default=Path("sequence-comparison.csv"))
    given = options.parse_args()
    for task in given.tasks:
        compare(given, task, data_dir=given.data_dir)


if __name__ == "__main__":
    main()
