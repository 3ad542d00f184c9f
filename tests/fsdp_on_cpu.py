"""`train.py` with FSDP on CPUs: accelerate shards over accelerators only, so it is told that these are some."""

import sys
from pathlib import Path

from accelerate.state import PartialState
from accelerate.utils import DistributedType

sys.path[0] = str(Path(__file__).parents[1])  # not tests/, whose folders have the names of the packages
import train  # noqa: E402

_init = PartialState.__init__


def _as_accelerators(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_XPU


PartialState.__init__ = _as_accelerators
train.main()
