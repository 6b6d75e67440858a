"""Every reviewer's latest decision on every row, in memory, updated incrementally from the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from pathlib import Path
from threading import Lock

from foretaste.curation.review_decisions import Choice, ReviewDecision, agreed, since


class DecisionCache:
    """The latest decisions. The log is append-only, so `refresh` reads only what was added."""

    def __init__(self, audit: Path) -> None:
        self._audit, self._last, self._lock = audit, 0, Lock()
        self._latest: dict[int, dict[str, ReviewDecision]] = {}
        self._settled: dict[int, Choice] = {}
        self._counts: Counter[Choice] = Counter()
        self._decided: dict[str, set[int]] = {}

    def refresh(self) -> None:
        """Read the decisions added since the last call. Raises DataError where the log cannot be read."""
        with self._lock:
            for number, decision in since(self._audit, self._last):
                latest = self._latest.setdefault(decision.row, {})
                latest[decision.reviewer] = decision
                now = agreed(other.choice for other in latest.values())
                self._counts[self.settled(decision.row)] -= 1
                self._counts[now] += 1
                self._last, self._settled[decision.row] = number, now
                decided = self._decided.setdefault(decision.reviewer, set())
                (decided.discard if decision.choice is Choice.OPEN else decided.add)(decision.row)

    def of(self, row: int) -> list[ReviewDecision]:
        """The latest decisions on a row: choices, and notes without a choice."""
        latest = list(self._latest.get(row, {}).values())
        return [decision for decision in latest if decision.choice is not Choice.OPEN or decision.note]

    def settled(self, row: int) -> Choice:
        """The settled choice for a row (see review_decisions.agreed)."""
        return self._settled.get(row, Choice.OPEN)

    def counts(self) -> dict[str, int]:
        """Number of rows by settled choice."""
        return {str(choice): self._counts[choice] for choice in (Choice.KEEP, Choice.DROP, Choice.UNSURE)}

    def decided(self, reviewer: str) -> Set[int]:
        """The rows that a reviewer has decided."""
        return self._decided.get(reviewer, set())
