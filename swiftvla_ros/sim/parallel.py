# SPDX-License-Identifier: Apache-2.0
"""Work shared out to processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from swiftvla_ros.contract import Contract

Result = TypeVar("Result")


def run_jobs(
    function: Callable[..., Result], jobs: Iterable[tuple[Any, ...]], *, workers: int, title: str, progress: bool = True
) -> Iterator[Result]:
    """Call ``function(*job)`` for every job and yield the results as they come, behind a bar with a title.

    ``function`` is a module-level one; with more than one worker it runs in fresh processes, because an OpenGL context
    does not survive a fork.
    """
    jobs = list(jobs)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(title, total=len(jobs))
        if workers <= 1:
            for job in jobs:
                yield function(*job)
                bar.advance(task)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(function, *job) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
                    bar.advance(task)
            finally:
                for future in futures:
                    future.cancel()


def render_shards(
    render: Callable[[Path, int, int, int, Path], None],
    out_dir: Path,
    kind: str,
    count: int,
    size: int,
    *,
    workers: int,
    seed: int,
    contract: Contract,
    progress: bool,
) -> list[Path]:
    """Render ``count`` scenes into files ``<kind>_<number>.safetensors`` of ``size`` each; those there are kept.

    ``render`` is given the file, the number of its first scene, how many, the seed, and the contract's path. The same
    seed gives the same scenes, whatever the number of workers.
    """
    paths = [out_dir / f"{kind}_{index:05d}.safetensors" for index in range(-(-count // size))]
    jobs = [
        (path, index * size, min(size, count - index * size), seed, contract.path)
        for index, path in enumerate(paths)
        if not path.exists()
    ]
    for _ in run_jobs(render, jobs, workers=workers, title=f"rendering {kind}", progress=progress):
        pass
    return paths
