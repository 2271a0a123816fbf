# SPDX-License-Identifier: Apache-2.0
"""A policy without a network: it gives the chunks of a bag again, for a graph that has no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.namespaces import held_namespace
from swiftvla_ros.episodes.datasets.bag_folders import the_bag
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.replay.recorded import RecordedChunk, open_recording, read_run


class RecordedPolicy(Policy):
    """Each inference gives the next chunk that was recorded under the instruction; after the last comes the first.

    Columns are matched to the contract's joints by name. Of a bag with several robots the one of the ``own`` namespace
    is played. Raises BagError where the bag has no chunks, or they are of
    other joints or cameras than the contract's.
    """

    device = "recorded"

    def __init__(self, bag: Path | str, contract: Contract, own: str = "") -> None:
        path = the_bag(Path(bag))
        opened = open_recording(path, contract, held_namespace(Bag(path).namespaces, own))
        names, recorded = contract.joint_names, opened.contract.joint_names
        if set(recorded) != set(names):
            raise BagError(f"{bag}: holds chunks for joints {list(recorded)}, but {contract.path} has {list(names)}")
        self._columns = [recorded.index(name) for name in names]
        self._chunks: dict[str, list[RecordedChunk]] = {}
        for chunk in read_run(opened).chunks:
            self._chunks.setdefault(chunk.instruction, []).append(chunk)
        self._give(next(iter(self._chunks.values()))[0])
        self._next = 0
        if absent := sorted(set(self.camera_names) - set(contract.camera_names)):
            raise BagError(f"{bag}: chunks were read from cameras {absent}, which {contract.path} doesn't have")

    def _give(self, chunk: RecordedChunk) -> NDArray[np.float64]:
        self._given = chunk
        # Says that the newest chunk was recorded, and what it was computed by then.
        self.checkpoint_sha256 = f"recorded:{chunk.checkpoint_sha256}"
        # Inference waits for the cameras that the recorded policy read, here, too.
        self.camera_names, self.step_s = tuple(chunk.image_stamps), chunk.step_ns / 1e9
        return chunk.positions[:, self._columns]

    def check_instruction(self, text: str) -> str:
        """The instruction; raises InstructionError for one that the bag has no chunks of."""
        text = validate_instruction(text)
        if text not in self._chunks:
            raise InstructionError(f"the bag that chunks come from has none of '{text}'; it has {list(self._chunks)}")
        return text

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        """The next recorded chunk [H, J], rad (or m), contract order."""
        chunks = self._chunks[self.check_instruction(observation.instruction)]
        if self._given.instruction != chunks[0].instruction:
            self._next = 0
        self._next += 1
        return self._give(chunks[(self._next - 1) % len(chunks)])
