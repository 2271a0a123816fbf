# SPDX-License-Identifier: Apache-2.0
"""What the simulated arm can be told to do: a task, or a variant of the scene, is one file that the registry finds."""
