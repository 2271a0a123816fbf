# SPDX-License-Identifier: Apache-2.0
"""What a policy has to know of the dataset that it is trained on: names, step, statistics, 4D features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.utils.constants import ACTION, OBS_STATE
from numpy.typing import NDArray

from lerobot_policy_swiftvla.configuration_swiftvla import SwiftVLAConfig
from swiftvla_ros.contract.action_coding import ActionCoding
from swiftvla_ros.model.config import GeometryBranchConfig
from swiftvla_ros.model.config import SwiftVLAConfig as Network
from swiftvla_ros.policy.image_preprocessing import EXACT, PAD_TOP_LEFT
from swiftvla_ros.policy.normalization import compute_statistics
from swiftvla_ros.training.importers.lerobot_columns import KEYPOINTS, VALID_ROWS, geometry_columns
from swiftvla_ros.training.samples import ALL_ROWS

# Chunks that the statistics are taken from; of a longer dataset, evenly chosen ones.
_MOST_CHUNKS = 200_000
# Frames a second are whole numbers, a step need not be one of them.
_SAME_STEP_S = 0.001


def describe(config: SwiftVLAConfig, meta: Any) -> None:
    """Fill a policy's config in from a dataset's metadata (LeRobotDatasetMetadata) and its table.

    Raises
    ------
    ValueError
        The dataset is not one that the network can be trained on; the message names the feature and the fix.
    """
    config.validate_features()
    names = [_joint_names(meta, feature) for feature in (OBS_STATE, ACTION)]
    if names[0] != names[1]:
        raise ValueError(
            f"{OBS_STATE} is {names[0]} and {ACTION} {names[1]}: this policy learns positions of the joints that it is "
            "told the positions of"
        )
    if not meta.total_episodes:
        _check_recording(config, names[0], meta.fps)
        return
    config.joint_names, config.step_s = names[0], 1.0 / meta.fps
    config.cameras = config.cameras or list(config.image_features)
    network = config.swiftvla
    if config.preset is not None:
        network = replace(network, num_cameras=len(config.cameras))
    _check_sizes(config, network)
    side = network.vision.image_size
    exact = all(tuple(config.image_features[name].shape[-2:]) == (side, side) for name in config.cameras)
    config.image_fit = EXACT if exact else PAD_TOP_LEFT
    if config.max_delay_steps is not None:
        network = replace(network, max_delay_steps=config.max_delay_steps)
    config.set_network(replace(network, geometry=_geometry(config, meta.features)))
    _check_keypoints(meta.features, network)
    config.statistics = _statistics(config, Path(meta.root))


def coding(config: SwiftVLAConfig) -> ActionCoding:
    """What the network's rows mean."""
    return ActionCoding(config.action_kind, config.step_s, tuple(config.grippers), tuple(config.continuous))


def _joint_names(meta: Any, feature: str) -> list[str]:
    described = meta.features[feature]
    names = described.get("names")
    flat = [name for group in names.values() for name in group] if isinstance(names, dict) else names
    return list(flat) if flat else [f"{feature}.{k}" for k in range(described["shape"][0])]


def _check_recording(config: SwiftVLAConfig, joints: list[str], fps: int) -> None:
    """Hold a trained policy against the empty dataset that `lerobot-record` is going to fill with it."""
    if not config.statistics:
        raise ValueError("the dataset is empty: nothing can be learnt from it, and the policy was not trained yet")
    if joints != config.joint_names:
        raise ValueError(f"the policy was trained for the joints {config.joint_names}, the robot has {joints}")
    if abs(1.0 / fps - config.step_s) > _SAME_STEP_S:
        raise ValueError(
            f"the policy's rows are {config.step_s:g} s apart, the dataset's frames {1.0 / fps:g} s: write "
            f"--dataset.fps={1.0 / config.step_s:g}"
        )


def _check_sizes(config: SwiftVLAConfig, network: Network) -> None:
    if len(config.cameras) != network.num_cameras:
        raise ValueError(
            f"the network of policy.init '{config.init}' reads {network.num_cameras} cameras, the dataset has "
            f"{config.cameras}: name as many with --policy.cameras, or --policy.preset to build another network"
        )
    room = min(network.state_dim, network.action_dim)
    if len(config.joint_names) > room:
        raise ValueError(f"the network has room for {room} joints, the dataset has {config.joint_names}")


def _geometry(config: SwiftVLAConfig, features: dict[str, Any]) -> GeometryBranchConfig | None:
    if config.stage == 1:
        return None
    columns = geometry_columns(features)
    absent = sorted(set(config.cache_steps) - set(columns))
    if absent:
        raise ValueError(
            f"stage 2 reads 4D features of temporal caches {list(config.cache_steps)}, and the dataset lacks those of "
            f"{absent}: write --policy.cache_steps='{sorted(columns)}', or export it with `swiftvla export-lerobot … "
            "--labels-for … --teacher-targets …`"
        )
    tokens, dim = (int(n) for n in features[columns[config.cache_steps[0]]]["shape"])
    return GeometryBranchConfig(
        dim, tokens, config.mask_4d, config.mask_2d, config.mask_2d_ramp_steps, config.reconstruct
    )


def _check_keypoints(features: dict[str, Any], network: Network) -> None:
    wanted = 0 if network.fusion is None else network.fusion.num_tokens
    if KEYPOINTS in features and tuple(features[KEYPOINTS]["shape"]) != (wanted, 3):
        raise ValueError(
            f"the dataset's column {KEYPOINTS} has shape {list(features[KEYPOINTS]['shape'])}, the network {wanted} "
            "Fusion Tokens: export the dataset with --labels-for this network"
        )


def _statistics(config: SwiftVLAConfig, root: Path) -> dict[str, Any]:
    """Statistics of the state, and of the network's rows over all chunks, as ``stats.json`` of ours."""
    files = sorted(root.glob("data/*/*.parquet"))
    if not files:
        raise ValueError(
            f"{root}: has no table data/*/*.parquet, from which statistics of the chunks are taken (a streamed dataset "
            "has none: leave --dataset.streaming out)"
        )
    wanted = [OBS_STATE, ACTION, "episode_index"]
    own = [VALID_ROWS] if VALID_ROWS in pq.read_schema(files[0]).names else []
    table = pa.concat_tables([pq.read_table(file, columns=[*wanted, *own]) for file in files])
    state, action, episode = (_values(table, name) for name in wanted)
    valid = _values(table, VALID_ROWS) if own else np.full(len(state), ALL_ROWS)
    # Of each frame the last one of its episode: after it the arm stays where it was commanded last.
    last = np.searchsorted(episode, episode, side="right") - 1
    frames = np.arange(0, len(state), max(1, len(state) // _MOST_CHUNKS))
    ahead = np.arange(config.chunk_size)
    rows = np.minimum(frames[:, None] + ahead, last[frames, None])
    encoded = coding(config).encode(action[rows], state[frames]).astype(np.float32)
    return {
        "state": compute_statistics(state, config.joint_names),
        "action": compute_statistics(encoded[ahead < valid[frames, None]], config.joint_names),
    }


def _values(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of numbers or of vectors of one length: [n] or [n, d]."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten()).reshape(len(column), -1)
    return np.asarray(column)
