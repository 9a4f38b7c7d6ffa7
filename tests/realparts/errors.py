"""The one error of this package."""


class RealPartError(Exception):
    """A real part is missing, did not start or refused: the message says which, why and what helps."""
