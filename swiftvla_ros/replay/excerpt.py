# SPDX-License-Identifier: Apache-2.0
"""A small bag out of a large one: just what replay needs, so that a run can be kept as a regression test."""

from __future__ import annotations

import shutil
from pathlib import Path

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.topics import film_topic
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.observation.message_fields import header_stamp_ns, stamp_ns
from swiftvla_ros.replay.differences import FINGERPRINT
from swiftvla_ros.replay.recorded import read_run

# Frames of the film that are kept of each camera: they show how images were conditioned.
_FILM_FRAMES = 12
_TOPICS = (
    *("observation/state", "action_chunk", "executor_state"),
    *("policy_state", "task_verdict", "speed_scale", "speed_limit"),
)
_PROVENANCE = ("checkpoint_sha256", "package_version")


def write_excerpt(bag: Bag, folder: Path) -> dict[str, int]:
    """Write a new bag with all chunks, ticks and joint states, and of the images only those that a chunk was read from.

    Images stay uncompressed pixels, as a JPEG would change the chunks; the file itself is compressed without loss.
    Returns the messages by topic; raises BagError where there are no chunks, or the folder exists.
    """
    run = read_run(bag)
    cameras = sorted({camera for chunk in run.chunks for camera in chunk.image_stamps})
    wanted = {camera: {c.image_stamps[camera] for c in run.chunks if camera in c.image_stamps} for camera in cameras}
    films = {camera: _evenly(_stamps(bag, film_topic(camera)) & wanted[camera]) for camera in cameras}
    # Topic → the stamps that are kept of it; None: all.
    kept: dict[str, set[int] | None] = dict.fromkeys(_TOPICS)
    kept |= {topic: stamps for camera, stamps in wanted.items() if (topic := bag.image_topic(camera)) is not None}
    kept |= {film_topic(camera): stamps for camera, stamps in films.items()}
    names = {topic: name for name in kept if (topic := bag.topic(name)) is not None}
    with BagWriter(folder, bag.contract, compression="zstd", provenance=_provenance(bag)) as writer:
        for topic in names:  # as recorded: the messages may have other fields by now
            writer.add_topic(topic, bag.channels[topic].msgtype, definition=bag.channels[topic])
        for raw in bag.raw(list(names)):
            stamps = kept[names[raw.topic]]
            if stamps is None or header_stamp_ns(raw.data) in stamps:
                writer.write(raw.topic, raw.msgtype, raw.received_ns, raw.data)
        counts = writer.counts()
    if (bag.folder / FINGERPRINT).is_file():
        shutil.copyfile(bag.folder / FINGERPRINT, folder / FINGERPRINT)
    return counts


def _provenance(bag: Bag) -> dict[str, str]:
    """What identifies the run; the paths of the machine that recorded it stay behind."""
    kept = {key: str(bag.provenance[key]) for key in _PROVENANCE if key in bag.provenance}
    if checkpoint := bag.provenance.get("checkpoint"):
        kept["checkpoint"] = f"models/{Path(str(checkpoint)).name}"
    return kept


def _stamps(bag: Bag, topic: str) -> set[int]:
    return {stamp_ns(message.header.stamp) for _, message in bag.messages(topic)}


def _evenly(stamps: set[int]) -> set[int]:
    ordered = sorted(stamps)
    return set(ordered[:: max(1, -(-len(ordered) // _FILM_FRAMES))])
