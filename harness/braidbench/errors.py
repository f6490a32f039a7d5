"""The errors that a user meets. Each says what, where and how to mend it, in one line, and carries an exit code."""

from __future__ import annotations


class BraidbenchError(Exception):
    """Base of every error that the command line turns into one line on stderr."""

    exit_code = 2


class UsageError(BraidbenchError):
    """The request is wrong: an unknown name, a bad parameter, a method that cannot serve the dataset."""


class PluginError(BraidbenchError):
    """A plugin's declaration is wrong: a name declared twice, a misspelt hook, a target that does not resolve."""


class DataError(BraidbenchError):
    """A dataset's files are missing, truncated, wrongly shaped, or hold values that are not finite."""

    exit_code = 3


class MissingPackageError(BraidbenchError):
    """An optional package is not installed."""

    exit_code = 3


class StorageError(BraidbenchError):
    """A folder cannot be written or the disk is full."""

    exit_code = 3


class NewerVersionError(DataError):
    """A document was written by a newer version of braidbench than this one; it is left as it is."""


class UndefinedScoreError(BraidbenchError):
    """A metric has no value on these predictions and targets; its message says why."""

    exit_code = 1
