"""Worker processes for questions that may be answered in any order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from workers.environment import Worker

Answer = tuple[str, dict, dict]
"""A library, a question, and what its worker said."""


class Pool:
    """Several hands that take questions from one queue; each keeps its own process per library."""

    def __init__(self, hands: int) -> None:
        self.hands = hands

    def ask(
        self, questions: list[tuple[str, dict]], keep: Callable[[list[Answer]], None] = lambda _: None
    ) -> list[Answer]:
        """The answers to `questions` in the order in which they came; `keep` is given those there are after each."""
        waiting: SimpleQueue = SimpleQueue()
        for question in questions:
            waiting.put(question)
        answered: list[Answer] = []
        threads = [threading.Thread(target=self._work, args=(waiting, answered, keep)) for _ in range(self.hands)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(answered) < len(questions):
            sys.exit("a worker ended before its time; what it said is above")
        return answered

    def _work(self, waiting: SimpleQueue, answered: list[Answer], keep: Callable[[list[Answer]], None]) -> None:
        team: dict[str, Worker] = {}
        try:
            while True:
                library, question = waiting.get_nowait()
                if library not in team:
                    team[library] = Worker(library, 1, f"solvers_{library}")
                answered.append((library, question, team[library].ask(**question)))
                keep(list(answered))
                name = question.get("solver", question["act"])
                print(f"{len(answered)}: {library}, {name}, {question.get('many', '')}", file=sys.stderr)
        except Empty:
            pass
        finally:
            for worker in team.values():
                worker.process.kill()
                worker.process.wait()
