# SPDX-License-Identifier: Apache-2.0
"""The 4D teacher's targets: computed once from episodes or live, stored, read again."""
