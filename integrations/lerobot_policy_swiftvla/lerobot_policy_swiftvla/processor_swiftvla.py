# SPDX-License-Identifier: Apache-2.0
"""What is done before and behind the policy: LeRobot's own steps, and the tokenizer that a checkpoint carries along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    ProcessorStep,
    ProcessorStepRegistry,
    RenameObservationsProcessorStep,
    UnnormalizerProcessorStep,
)
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from lerobot.utils.constants import (
    OBS_LANGUAGE_ATTENTION_MASK,
    OBS_LANGUAGE_TOKENS,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from torch import Tensor

from lerobot_policy_swiftvla.configuration_swiftvla import SwiftVLAConfig
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.resources import model_path
from swiftvla_ros.training.checkpoint_writer import read_tokenizer
from swiftvla_ros.training.importers.lerobot_policy import TOKENIZER_STEP, text_of_tensor, text_tensor

_OBSERVATION, _COMPLEMENTARY = "observation", "complementary_data"


@dataclass
@ProcessorStepRegistry.register(name=TOKENIZER_STEP)
class SwiftVLATokenizerStep(ProcessorStep):
    """The task's words → token ids and their mask, padded to the longest of a batch.

    The tokenizer's whole text lies in the step's state, so that a folder needs no other file and no hub.
    """

    max_tokens: int
    tokenizer: str = ""
    _tokenize: InstructionTokenizer | None = field(default=None, init=False, repr=False)

    def __call__(self, transition: Any) -> Any:
        """Add the tokens to the observation."""
        if self._tokenize is None:
            self._tokenize = InstructionTokenizer.from_text(self.tokenizer, self.max_tokens)
        task = (transition.get(_COMPLEMENTARY) or {}).get("task")
        if task is None:
            raise ValueError("the batch has no 'task': this policy does what it is told, in words")
        rows = [torch.from_numpy(self._tokenize(text)) for text in ([task] if isinstance(task, str) else task)]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        observation = dict(transition[_OBSERVATION])
        observation[OBS_LANGUAGE_TOKENS] = tokens
        observation[OBS_LANGUAGE_ATTENTION_MASK] = torch.arange(tokens.shape[1]) < lengths[:, None]
        return {**transition, _OBSERVATION: observation}

    def get_config(self) -> dict[str, Any]:
        """What stands in ``policy_preprocessor.json``."""
        return {"max_tokens": self.max_tokens}

    def state_dict(self) -> dict[str, Tensor]:
        """The tokenizer's text, as bytes."""
        return {"tokenizer": text_tensor(self.tokenizer)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Read it again."""
        self.tokenizer, self._tokenize = text_of_tensor(state["tokenizer"]), None

    def transform_features(self, features: Any) -> Any:
        """Tokens are no feature of a robot."""
        return features


def make_swiftvla_pre_post_processors(
    config: SwiftVLAConfig,
    dataset_stats: dict[str, dict[str, Tensor]] | None = None,
) -> tuple[PolicyProcessorPipeline[Any, Any], PolicyProcessorPipeline[Any, Any]]:
    """The pipelines of a new policy, whose tokenizer is the one of its start."""
    if not config.init:
        raise ValueError("policy.init is empty, so there is no tokenizer; name a checkpoint to start from")
    features = {**(config.input_features or {}), **(config.output_features or {})}
    # LeRobot looks for its normalisers' names when it loads a folder; these leave everything as it is.
    kept = {"features": features, "norm_map": config.normalization_mapping, "stats": dataset_stats}
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        SwiftVLATokenizerStep(config.swiftvla.text.max_tokens, read_tokenizer(model_path(config.init))),
        DeviceProcessorStep(device=config.device or "cpu"),
        NormalizerProcessorStep(**kept),
    ]
    behind = [UnnormalizerProcessorStep(**kept), DeviceProcessorStep(device="cpu")]
    return (
        PolicyProcessorPipeline(steps=before, name=POLICY_PREPROCESSOR_DEFAULT_NAME),
        PolicyProcessorPipeline(
            steps=behind,
            name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )
