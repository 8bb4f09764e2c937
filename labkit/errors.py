"""The two ways a command can end badly, each told in one sentence."""


class CourseError(Exception):
    """Base of the errors that a command prints as one sentence: what is wrong, where, what to do."""

    exit_code = 1


class UserError(CourseError):
    """The user asked for something that cannot be (a wrong lab number, a broken file): exit code 2."""

    exit_code = 2


class FailureError(CourseError):
    """The request was right but could not be carried out (a full disk, a service that died): exit code 1."""

    exit_code = 1
