"""What holds the work back, with the numbers that say so.

Two answers, never mixed up. *Resource* is a partition of the wall time: what the seconds were
limited by. *Admission* is what keeps requests waiting outside. The headline is one of them.
"""

from collectors.bottleneck.judge import judge
from collectors.bottleneck.partition import (
    DRAM_ATTAINABLE,
    TENSOR_ATTAINABLE,
    Group,
    Wall,
    mean_wall,
    partition,
)
from collectors.bottleneck.period import Period, over

__all__ = [
    "DRAM_ATTAINABLE", "TENSOR_ATTAINABLE", "Group", "Period", "Wall", "judge", "mean_wall", "over", "partition",
]  # fmt: skip
