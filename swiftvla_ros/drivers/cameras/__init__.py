# SPDX-License-Identifier: Apache-2.0
"""USB cameras, and films in their place: found, set, read without decoding, opened again when they come back."""
