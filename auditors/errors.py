"""What can go wrong, as a tree.

ForetasteError
├── DataError         the dataset does not hold what the roles promise
├── PlanError         a plan, a policy or a command asks for what does not exist
├── NotApplicable     a detector or embedder has nothing to say about this data
├── MissingPackage    an optional package is needed and absent
├── Refused           a gate does not let these bytes through; exit code 1 where the others are 2
└── DetectorError     a detector broke its contract (NaN scores, wrong shapes)

Each message is one sentence: the thing, the rule, what came, and where.
"""


class ForetasteError(Exception):
    """Root of every error foretaste raises on purpose."""


class DataError(ForetasteError):
    """The dataset does not hold what the roles promise."""


class PlanError(ForetasteError):
    """A plan, a policy or a command asks for what does not exist."""


class NotApplicable(ForetasteError):
    """A detector or embedder has nothing to say about this data; the run is reported, never called clean."""


class MissingPackage(ForetasteError):
    """An optional package is needed and absent; the message carries the pip line."""


class Refused(ForetasteError):
    """A gate does not let these bytes through. `reasons` has one sentence for each thing that is wrong."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class DetectorError(ForetasteError):
    """A detector broke its contract."""
