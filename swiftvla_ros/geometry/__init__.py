# SPDX-License-Identifier: Apache-2.0
"""The 4D visual geometry transformer and its temporal cache.

Images of several cameras over time become tokens that know the scene's geometry. SwiftVLA learns from these tokens
while it trains; nothing here runs in a deployed policy.
"""

from swiftvla_ros.geometry.cache import StreamCache
from swiftvla_ros.geometry.checkpoint import GeometryCheckpointError, load_geometry, save_geometry
from swiftvla_ros.geometry.config import PRESETS, GeometryConfig
from swiftvla_ros.geometry.transformer import HEADS, GeometryOutput, GeometryTransformer, pool_tokens

__all__ = [
    "HEADS",
    "PRESETS",
    "GeometryCheckpointError",
    "GeometryConfig",
    "GeometryOutput",
    "GeometryTransformer",
    "StreamCache",
    "load_geometry",
    "pool_tokens",
    "save_geometry",
]
