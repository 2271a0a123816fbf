# SPDX-License-Identifier: Apache-2.0
"""A SwiftVLA robot policy on ROS 2: cameras and joints in, a limited smooth joint trajectory out.

The rooms of the package, and what each may import, are held by ``test/test_rooms.py``.
"""

from pkgutil import extend_path

# A checkout on sys.path shadows the installed package, which alone may hold the generated msg, srv and action modules.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
