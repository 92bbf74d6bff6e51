"""Every error that Milepost raises on purpose, in one tree.

    MilepostError
    ├── OptionsError (ValueError)            the options are wrong; lists every mistake
    ├── ArchiveError (ValueError)            a file could not be read as an archive
    │   ├── NotAnArchiveError                it is some other kind of file
    │   ├── HostileArchiveError              its structure breaks a rule of the format
    │   ├── DamagedArchiveError              its bytes are not the bytes that were written
    │   └── UnsupportedVersionError          it was written by a newer version
    ├── ForeignFileError (ValueError)        another program's file is damaged or hostile
    ├── ConversionError (ValueError)         a file could not be written in another format
    ├── UnsavableError (TypeError)           a value has no place in an archive
    ├── CommitError (OSError)                a file could not be written durably
    ├── OverwriteError (FileExistsError)     writing would replace somebody's file
    ├── StateMismatchError (ValueError)      a saved state does not fit the object that takes it
    ├── UnknownArchitectureError (LookupError)
    ├── DataError (ValueError)               a data set can't be used; names file, frame and field
    ├── ResumeError (ValueError)             a run can't be continued from here
    ├── DivergedError (ArithmeticError)      training produced NaN or infinity
    ├── ExportError (RuntimeError)           a model could not be exported
    │   └── ParityError                      the exported model computes something else
    ├── DeviceError (RuntimeError)           this machine lacks the device that was asked for
    ├── MissingDependencyError (ImportError) an optional package is needed and absent
    └── ConformanceError (AssertionError)    a plug-in breaks a rule of its contract

Each class also derives from the built-in that a caller would catch. The message says what was attempted and
where, each mismatch as "expected X, found Y", and one thing to do.
"""


class MilepostError(Exception):
    """Catch every error that Milepost raises on purpose."""


class OptionsError(MilepostError, ValueError):
    """Report that the options are wrong; the message lists every mistake."""


class ArchiveError(MilepostError, ValueError):
    """Report that a file could not be read as an archive."""


class NotAnArchiveError(ArchiveError):
    """Report that a file is of some other kind."""


class HostileArchiveError(ArchiveError):
    """Report that a file's structure breaks a rule of the archive format."""


class DamagedArchiveError(ArchiveError):
    """Report that a file's bytes are not the bytes that were written."""


class UnsupportedVersionError(ArchiveError):
    """Report that a file was written by a newer version."""


class ForeignFileError(MilepostError, ValueError):
    """Report that another program's file is damaged or hostile."""


class ConversionError(MilepostError, ValueError):
    """Report that a file could not be written in another format."""


class UnsavableError(MilepostError, TypeError):
    """Report that a value has no place in an archive."""


class CommitError(MilepostError, OSError):
    """Report that a file could not be written durably."""


class OverwriteError(MilepostError, FileExistsError):
    """Report that writing would replace somebody's file."""


class StateMismatchError(MilepostError, ValueError):
    """Report that a saved state does not fit the object that takes it."""


class UnknownArchitectureError(MilepostError, LookupError):
    """Report that no architecture of this name is registered."""


class DataError(MilepostError, ValueError):
    """Report that a data set can't be used; the message names file, frame and field."""


class ResumeError(MilepostError, ValueError):
    """Report that a run can't be continued from here."""


class DivergedError(MilepostError, ArithmeticError):
    """Report that training produced NaN or infinity."""


class ExportError(MilepostError, RuntimeError):
    """Report that a model could not be exported."""


class ParityError(ExportError):
    """Report that an exported model computes something else than the trained one."""


class DeviceError(MilepostError, RuntimeError):
    """Report that this machine lacks the device that was asked for."""


class MissingDependencyError(MilepostError, ImportError):
    """Report that an optional package is needed and absent."""


class ConformanceError(MilepostError, AssertionError):
    """Report that a plug-in breaks a rule of its contract."""
