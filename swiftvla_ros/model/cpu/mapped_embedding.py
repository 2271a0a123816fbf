# SPDX-License-Identifier: Apache-2.0
"""Word embeddings that stay in their file: a chunk reads a dozen rows of fifty thousand."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class MappedEmbedding(nn.Module):
    """Rows of ``table``, which is mapped from a file, as ``dtype``."""

    def __init__(self, table: Float[Tensor, "words d"], dtype: torch.dtype) -> None:
        super().__init__()
        self.table, self.dtype = table, dtype

    def forward(self, token_ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The rows of the words."""
        return nn.functional.embedding(token_ids, self.table).to(self.dtype)
