"""What can be wrong with a source."""


class SourceError(Exception):
    """The source is missing, empty or of the wrong shape; the message names file, column and what was expected."""
