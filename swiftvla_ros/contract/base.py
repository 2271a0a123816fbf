# SPDX-License-Identifier: Apache-2.0
"""What the models of contract keys are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Topic = Annotated[str, Field(pattern=r"^[~/a-zA-Z]")]


class Strict(BaseModel):
    """Keys of a contract file: an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
