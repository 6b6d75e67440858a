"""What can go wrong, as a tree.

ForetasteError
├── DataError         the dataset does not hold what the roles promise
├── PlanError         a plan, a policy or a command asks for what does not exist
├── NotApplicable     a detector or embedder has nothing to say about this data
├── MissingPackage    an optional package is needed and absent
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


class DetectorError(ForetasteError):
    """A detector broke its contract."""
