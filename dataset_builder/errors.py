"""What ends a job in one sentence instead of a traceback."""


class InputError(ValueError):
    """Something that a person gave is wrong. The message names it and says what to do."""
