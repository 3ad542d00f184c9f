"""What ends a run in one sentence instead of a traceback."""


class InputError(ValueError):
    """Something that a person gave is wrong. The message names it and says what to do."""


class CheckpointError(OSError):
    """A checkpoint or a model could not be written, e.g. because the disk is full. Earlier ones are intact."""


class NotFiniteLoss(RuntimeError):  # noqa: N818 (it names what happened)
    """The loss is infinite or not a number. Nothing of that batch reached the weights."""
