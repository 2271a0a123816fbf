# SPDX-License-Identifier: Apache-2.0
"""A chunk from three graphs, whoever runs them: vision per camera, prefix once, step as often as there are Euler steps.

The runtimes beside this one bring the graphs; torch is not imported.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.observation.observation import NO_GUIDANCE, RowsAhead
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.policy.deployment import Deployment
from swiftvla_ros.policy.runtime import NetworkInput, PolicyRuntime, RuntimeOptions
from swiftvla_ros.policy.runtimes.guided_flow import GuidedFlow
from swiftvla_ros.policy.runtimes.network_ends import Array, Layout, NetworkEnds

# Guidance that needs no backward pass.
GUIDANCE = ("identity", "trained")


class Graphs(Protocol):
    """The graphs of one network, loaded; keys and values stay inside between ``prefix`` and ``step``."""

    def vision(self, image: Array) -> Array:
        """One image [3, s, s] in [-1, 1] → its tokens [p, d]."""

    def prefix(self, images: Array, text: Array, state: Array, layout: Layout, step_layout: Layout) -> Array | None:
        """Embedded images [1, cams·p, d], text [1, n, d] and state [1, 1, d] → the guide [1, w], where there is one.

        ``step_layout`` is what all calls of ``step`` use until the next call.
        """

    def step(self, actions: Array) -> Array:
        """Embedded action tokens [1, h, w] → their latent [1, h, w]; valid until the next call."""

    def carried(self) -> list[Array]:
        """Every layer's key, then every layer's value, as ``prefix`` left them: for whoever compares."""


class GraphRuntime(PolicyRuntime):
    """A network whose graphs ``graphs`` runs."""

    def __init__(
        self, checkpoint: Checkpoint, graphs: Graphs, options: RuntimeOptions, *, threads: int, precision: str
    ) -> None:
        deployment = deployment_of(checkpoint)
        self.config, self.graphs = checkpoint.model, graphs
        self.device, self.threads, self.precision = options.device, threads, precision
        self._guidance = options.guidance
        try:
            self.ends = NetworkEnds(self.config, checkpoint.folder / deployment.ends)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        self._tokens: tuple[Array, ...] | None = None
        self._times = self.ends.embed_time(self.ends.flow_times)[:, None]

    def see(self, image: Array) -> Array:
        """Tokens [p, d] of one camera's image [3, s, s]."""
        return self.graphs.vision(image)

    def vision_tokens(self) -> tuple[Array, ...] | None:
        """The tokens [p, d] of each camera's image in the last chunk."""
        return self._tokens

    def infer(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute a normalised chunk [H, A] from noise [H, A]; ``ahead`` is what it shall continue."""
        seen = inputs.seen or (None,) * len(inputs.images)
        tokens = [self.see(image) if done is None else done for image, done in zip(inputs.images, seen, strict=True)]
        self._tokens = tuple(tokens)
        guide = condition(self.graphs, self.ends, tokens, inputs)
        flow = None
        times = self._times
        if ahead is not None and self._guidance != NO_GUIDANCE:
            flow = GuidedFlow(self._guidance, ahead, noise.shape, self.ends.flow_times)
            times = times if flow.row_times is None else self.ends.embed_time(flow.row_times)
        x = noise if flow is None else flow.start(noise)
        steps = len(times)
        for step, time in enumerate(times):
            v = self.ends.velocity(self.graphs.step(self.ends.embed_actions(x, time, guide)))
            if flow is not None:
                v = flow.steer(v, x, step)
            x = x - v / np.float32(steps)
        return x


def condition(graphs: Graphs, ends: NetworkEnds, tokens: list[Array], inputs: NetworkInput) -> Array | None:
    """Run the prefix over the cameras' tokens; returns the guide [1, w], where the network has one."""
    text = ends.embed_text(inputs.token_ids)
    layout = ends.prefix_layout(text.shape[1])
    step_layout = ends.step_layout(layout.cos.shape[1])
    return graphs.prefix(np.concatenate(tokens)[None], text, ends.embed_state(inputs.state), layout, step_layout)


def deployment_of(checkpoint: Checkpoint) -> Deployment:
    """The folder's deployment, whole; raises CheckpointError where there is none, or files of it were exchanged."""
    found = checkpoint.deployment
    if found is None:
        raise CheckpointError(
            f"checkpoint '{checkpoint.folder}': has no graphs; make some with `swiftvla export`, or use runtime torch"
        )
    if changed := found.changed_files(checkpoint.folder):
        raise CheckpointError(
            f"checkpoint '{checkpoint.folder}': {changed} are missing or not those that were exported and checked "
            "(deploy.json); copy the whole folder again, or export the checkpoint again"
        )
    return found
