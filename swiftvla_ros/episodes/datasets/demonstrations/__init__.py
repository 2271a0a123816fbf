# SPDX-License-Identifier: Apache-2.0
"""Episodes from the topics of a robot that a person moved: where they begin, what was seen, what was commanded."""
