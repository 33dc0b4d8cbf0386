"""These tests need Triton's interpreter, which is chosen before Triton is imported.

``tests/nn/test_fused_kernels.py`` runs them in a process of its own; by hand:
``TRITON_INTERPRET=1 pytest tests/fused``.
"""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
