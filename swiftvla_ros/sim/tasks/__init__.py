# SPDX-License-Identifier: Apache-2.0
"""What the simulated arm can be told to do."""
