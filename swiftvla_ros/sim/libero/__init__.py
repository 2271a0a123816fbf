# SPDX-License-Identifier: Apache-2.0
"""The LIBERO benchmark: scenes in a process of the interpreter that has it, an expert, demonstrations, evaluation."""
