"""The warning of a call that can be told to mean something else."""


class MisuseWarning(UserWarning):
    """A call that most likely means something else; the message says what is done with it."""
