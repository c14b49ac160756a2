"""Flask-Outbox beside its peers: ``python -m benchmarks``."""

import sys
from pathlib import Path

#: The checkout: where the processes that a benchmark starts run.
ROOT = Path(__file__).parents[1]

# The tests start the same servers; they find them by the same name.
sys.path.insert(0, str(ROOT / "tests"))
