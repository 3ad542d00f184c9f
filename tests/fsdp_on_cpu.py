"""`train.py` with FSDP on CPUs: accelerate shards over accelerators only, so it is told that these are some."""

from accelerate.state import PartialState
from accelerate.utils import DistributedType

import train

_init = PartialState.__init__


def _as_accelerators(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_XPU


PartialState.__init__ = _as_accelerators
train.main()
