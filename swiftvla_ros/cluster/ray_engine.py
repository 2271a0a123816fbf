# SPDX-License-Identifier: Apache-2.0
"""Items made by the machines of a Ray cluster. An extra: ``pip install 'swiftvla_ros[cluster]'``.

The cluster is the user's, and trusted: what Ray passes between its machines are pickles. Of it this uses tasks alone,
one for an item, which put their results into files that all machines see. Ray is told to retry nothing: whether an
item is begun again is decided in one place, :mod:`swiftvla_ros.cluster.runner`.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from swiftvla_ros.cluster.engine import WAIT_S, EngineFactory, Make
from swiftvla_ros.cluster.installation import difference, installation
from swiftvla_ros.cluster.outcome import Failed, Lost, Made, WorkOutcome, attempt
from swiftvla_ros.errors import UserError

# How long a shared folder may take to show what another machine wrote, s: NFS remembers for some seconds.
_SEEN_S = 60.0
_LOOK_S = 0.5
_ANSWER_S = 10.0
# Machines come and go; asked for at most so often, s.
_RESOURCES_S = 2.0


class ClusterError(UserError):
    """A cluster that can't be used; the text says why and what to do."""


def over_ray(address: str, folder: Path, gpus: float) -> EngineFactory:
    """Take the machines of a running cluster.

    Parameters
    ----------
    address
        ``auto`` for the cluster that this machine is part of, or host:port of its head.
    folder
        Where results go; every machine must see it under this path.
    gpus
        GPUs, or which part of one, that an item needs; 0: a processor alone.
    """
    return partial(RayEngine, address, folder.resolve(), float(gpus))


class RayEngine:
    """One task for each item; raises ClusterError where there is no cluster, or none with what items need."""

    def __init__(self, address: str, folder: Path, gpus: float, make: Make) -> None:
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError, RayError) as error:
            raise ClusterError(
                f"--cluster {address}: no Ray cluster answers ({str(error).splitlines()[0]}); start one with "
                "`ray start --head --include-dashboard=false`, see docs/cluster.md"
            ) from error
        self._gpus = gpus
        self._slots, self._asked_s = 0, 0.0
        if gpus and not self._count_slots():
            ray.shutdown()
            raise ClusterError(f"--cluster {address}: none of its machines has a GPU now; write --device cpu")
        folder.mkdir(parents=True, exist_ok=True)
        self._token = folder / f".cluster-{secrets.token_hex(8)}"
        self._token.touch()
        # A GPU's worker keeps its network: Ray would end it after each task otherwise.
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_calls=0, max_retries=0)(_attempt_there)
        self._begin = partial(remote.remote, self._token, installation(), ray.put(make))
        self._running: dict[Any, int] = {}

    def room(self) -> int:
        """Have as many waiting as are being made."""
        return 2 * self._count_slots() - len(self._running)

    def submit(self, number: int, item: Any) -> None:
        """Give it to the next machine that is free."""
        self._running[self._begin(item)] = number

    def ended(self) -> list[tuple[int, WorkOutcome]]:
        """Collect; those of a machine that is gone are lost."""
        tasks = list(self._running)
        if not tasks:
            time.sleep(WAIT_S)  # all machines are gone for now
            return []
        ray.wait(tasks, num_returns=1, timeout=WAIT_S)
        ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return [(self._running.pop(task), _outcome(task)) for task in ready]

    def close(self) -> None:
        """Leave the cluster; what still runs there for this is ended."""
        self._token.unlink(missing_ok=True)
        ray.shutdown()

    def _count_slots(self) -> int:
        now_s = time.monotonic()
        if now_s - self._asked_s > _RESOURCES_S or not self._slots:
            resources, self._asked_s = ray.cluster_resources(), now_s
            cpus = resources.get("CPU", 0)
            self._slots = int(min(cpus, resources.get("GPU", 0) / self._gpus) if self._gpus else cpus)
        return self._slots


def _knock(address: str) -> None:
    """Raise OSError or ValueError where no cluster can be; Ray itself would ask for some twenty minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    elif address != "auto":
        raise ValueError("write auto, or host:port of its head")


def _outcome(task: Any) -> WorkOutcome:
    try:
        outcome: WorkOutcome = ray.get(task)
    except RayTaskError as error:
        return Failed(f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}", str(error))
    except RayError as error:
        return Lost(str(error).strip().splitlines()[0])
    return outcome


def _attempt_there(token: Path, wanted: dict[str, str], make: Make, item: Any) -> WorkOutcome:
    """Make an item on whatever machine this is, if it is one that gives the same results."""
    name = f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:6]})"
    if problem := _unfit(token, tuple(sorted(wanted.items()))):
        return Failed(f"{name}: {problem}")
    outcome = attempt(make, item)
    return replace(outcome, host=name) if isinstance(outcome, Made) else outcome


@lru_cache(maxsize=1)
def _unfit(token: Path, wanted: tuple[tuple[str, str], ...]) -> str:
    """Why this machine can't take part; looked at once in a process."""
    if other := difference(dict(wanted), installation()):
        return f"has other versions, and would give other results: {other}; install the same on every machine"
    deadline = time.monotonic() + _SEEN_S
    while not token.exists():
        if time.monotonic() > deadline:
            return f"does not see {token.parent}; mount it under the same path on every machine"
        time.sleep(_LOOK_S)
    return ""
