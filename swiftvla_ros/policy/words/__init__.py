# SPDX-License-Identifier: Apache-2.0
"""What an instruction means: one of the sentences that a policy was trained on, or none of them."""
