"""CONTaiNER (Das et al., ACL 2022) on Few-NERD, for any plain BERT: `python -m container.<step>` from this folder."""

import sys
from pathlib import Path

# The steps run from their own folder, and the repository's shared helpers (`common`) lie at its root.
sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
