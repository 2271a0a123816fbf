# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a run, and the black box."""
