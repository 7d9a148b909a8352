import subprocess
import sys
from pathlib import Path

import pytest

# A batch's worth of blocks, freed and asked for again: pages that had to be mapped anew
FAULTS = """
import resource, sys
import numpy as np
from embedders.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def batch():
    for size in (40, 10, 20):
        np.ones(size << 20, np.uint8)
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    said = subprocess.run(
        [sys.executable, "-c", FAULTS, how], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    return int(said.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is asked, which only Linux has")
def test_what_is_freed_is_not_mapped_again() -> None:
    assert faults("keep") < faults("give back") / 10
