"""The exceptions of foretaste.

ForetasteError
├── DataError         the data is not as its roles, its audit or its attestation require
├── PlanError         a call, plan, policy or command asks for what does not exist or is not allowed
├── NotApplicable     a detector or embedder does not apply to this data
├── MissingPackage    an optional package is needed and absent
├── Refused           a gate refuses the data; exit code 1 where the others are 2
└── DetectorError     a detector violated its contract (NaN scores, wrong shapes)

Each message is one sentence: what is wrong, the rule, the value, and where it is.
"""


class ForetasteError(Exception):
    """Base class of all exceptions that foretaste raises deliberately."""


class DataError(ForetasteError):
    """The data is not as its roles, its audit or its attestation require."""


class PlanError(ForetasteError):
    """A call, plan, policy or command asks for what does not exist or is not allowed."""


class NotApplicable(ForetasteError):
    """A detector or embedder does not apply to this data; the run is reported as such and never counts as clean."""


class MissingPackage(ForetasteError):
    """An optional package is needed and absent; the message has the pip command."""


class Refused(ForetasteError):
    """A gate refuses the data. `reasons` has a sentence for each reason."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class DetectorError(ForetasteError):
    """A detector violated its contract."""
