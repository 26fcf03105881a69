"""Run times of ONNX files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from prunella.core.errors import ExportError, PrunellaError
from prunella.core.progress import Progress, silent
from prunella.core.results import RunTimes
from prunella.exporting.check import words
from prunella.exporting.formats import onnx_feed, onnx_session
from prunella.exporting.inputs import Inputs
from prunella.measure.latency import Times, as_latency, quartiles, times_in_turn

_WARMUP = 5


def compare_onnx_latency(
    before: str | Path,
    after: str | Path,
    inputs: object,
    *,
    keywords: Mapping[str, object] | None = None,
    batches: tuple[int, ...] = (1, 64),
    runs: int = 30,
    progress: Progress = silent,
) -> tuple[RunTimes, ...]:
    """Time two ONNX files in ONNX Runtime on the CPU, alternating run by run.

    It uses as many threads as PyTorch does, see `torch.set_num_threads`.

    Args:
        before: File of the original.
        after: File of the small network, of the same inputs.
        inputs: As for `export`; the first sample is repeated, its values do not matter.
        keywords: Keyword arguments, likewise.
        batches: Batch sizes.
        runs: Timed runs of each file and batch size.
        progress: Reports pairs of runs.

    Returns:
        One entry for each batch size, as of `compare_latency`.

    Raises:
        InputError: the packages for ONNX are missing.
        ExportError: a file cannot be run on the inputs.
    """
    paths = (Path(before), Path(after))
    timed = _timed(paths, Inputs.of(inputs, keywords), batches, runs, progress)
    return tuple(as_latency(times, batch=batch) for batch, times in timed)


def onnx_latency(
    path: str | Path,
    inputs: object,
    *,
    keywords: Mapping[str, object] | None = None,
    batches: tuple[int, ...] = (1, 64),
    runs: int = 30,
    progress: Progress = silent,
) -> dict[int, tuple[float, float, float]]:
    """Quartiles of the run time of one ONNX file, in seconds per batch, by batch size.

    Arguments and errors are those of `compare_onnx_latency`.
    """
    timed = _timed((Path(path),), Inputs.of(inputs, keywords), batches, runs, progress)
    return {batch: quartiles(times[:, 0]) for batch, times in timed}


def _timed(
    paths: Sequence[Path],
    inputs: Inputs,
    batches: tuple[int, ...],
    runs: int,
    progress: Progress,
) -> Iterator[tuple[int, Times]]:
    """Batch size and seconds, shape (runs, files)."""
    try:
        sessions = [onnx_session(path) for path in paths]
        for batch in batches:
            copies = inputs.copies(batch)
            calls = [partial(s.run, None, onnx_feed(s, copies)) for s in sessions]
            rounds = partial(progress, description=f"ONNX Runtime, batch {batch}", total=runs)
            yield batch, times_in_turn(calls, runs=runs, warmup=_WARMUP, progress=rounds)
    except PrunellaError:
        raise
    except Exception as error:  # the runtime raises classes of its own
        names = " and ".join(str(path) for path in paths)
        raise ExportError(
            f"{names}: ONNX Runtime cannot run {'them' if len(paths) > 1 else 'it'} on the inputs "
            f"({words(error)}); give ONNX files of networks that take these inputs."
        ) from error
