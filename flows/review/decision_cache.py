"""What the reviewers last said of every row, in memory and kept up with the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from pathlib import Path
from threading import Lock

from foretaste.curation.review_decisions import Choice, ReviewDecision, agreed, since


class Said:
    """Everybody's last words. The log only grows, so `refresh` reads no more than what was added, by whomever."""

    def __init__(self, audit: Path) -> None:
        self._audit, self._last, self._lock = audit, 0, Lock()
        self._words: dict[int, dict[str, ReviewDecision]] = {}
        self._settled: dict[int, Choice] = {}
        self._counts: Counter[Choice] = Counter()
        self._decided: dict[str, set[int]] = {}

    def refresh(self) -> None:
        """Take in what was said since. Raises DataError where the log cannot be read."""
        with self._lock:
            for number, word in since(self._audit, self._last):
                words = self._words.setdefault(word.row, {})
                words[word.reviewer] = word
                now = agreed(one.choice for one in words.values())
                self._counts[self.settled(word.row)] -= 1
                self._counts[now] += 1
                self._last, self._settled[word.row] = number, now
                mine = self._decided.setdefault(word.reviewer, set())
                (mine.discard if word.choice is Choice.OPEN else mine.add)(word.row)

    def of(self, row: int) -> list[ReviewDecision]:
        """The words on a row: choices, and notes without one."""
        words = list(self._words.get(row, {}).values())
        return [one for one in words if one.choice is not Choice.OPEN or one.note]

    def settled(self, row: int) -> Choice:
        """What holds for a row."""
        return self._settled.get(row, Choice.OPEN)

    def counts(self) -> dict[str, int]:
        """How many rows are settled in which way."""
        return {str(choice): self._counts[choice] for choice in (Choice.KEEP, Choice.DROP, Choice.UNSURE)}

    def decided(self, reviewer: str) -> Set[int]:
        """The rows that a reviewer decided about."""
        return self._decided.get(reviewer, set())
