"""metrics.csv: every logged scalar of a run against its step."""

import csv
import io
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.files import write_atomically


class MetricsCSV(Logger):
    """metrics.csv: one row per logged step, with columns for step, images_seen, seconds and every metric.

    A resumed run continues the file: rows after the step that training resumes from are dropped. A row is on disk
    when `log_metrics` returns, and only the last one is kept in memory. A new column rewrites the file atomically.
    Values without `images_seen` are those of Lightning's callbacks; they join the row of the step in which they come.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = ["step", "images_seen"]
        self._last: dict[str, str] = {}  # the last row
        self._last_at = 0  # where it begins in the file
        self._waiting: dict[str, str] = {}  # values for the next row
        self.clock: Callable[[], float] | None = None  # seconds of training so far, for the column `seconds`
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                self.columns = list(csv.DictReader(file).fieldnames or self.columns)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: config.yaml holds the config."""

    @rank_zero_only
    def drop_after(self, step: int) -> None:
        """Drop rows after `step`."""
        self._rewrite(row for row in self._rows() if int(row["step"]) <= step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self._last and self.path.exists():  # finds the last row of a run that has ended
            self._rewrite(self._rows())
        row = {"step": str(step)} | {key: repr(value) for key, value in metrics.items()}
        last = int(self._last.get("step", 0))
        if "images_seen" in metrics:
            seconds = {} if self.clock is None else {"seconds": f"{self.clock():.2f}"}
            row, self._waiting = {**self._waiting, **row, **seconds}, {}
        elif step is None or step < last:  # a callback of Lightning counts the steps before this one
            row["step"] = str(last)
        else:  # it reports at the beginning of a step
            self._waiting |= row
            return
        again = row["step"] == self._last.get("step")  # training and evaluation share the row of a step
        if again:
            row = {**self._last, **row}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        if new or not self.path.exists():
            others = (other for other in self._rows() if other["step"] != row["step"])
            self._rewrite(chain(others, [row]))
            return
        with open(self.path, "r+b") as file:
            self._last, self._last_at = row, file.seek(self._last_at) if again else file.seek(0, os.SEEK_END)
            file.write(self._line(row))
            file.truncate()

    def _rows(self) -> Iterator[dict[str, str]]:
        """The rows on disk; a kill may have left an incomplete one at the end."""
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                yield from (row for row in csv.DictReader(file) if None not in row.values())

    def _rewrite(self, rows: Iterable[dict[str, str]]) -> None:
        def write(file: IO[bytes]) -> None:
            file.write(self._line({column: column for column in self.columns}))
            self._last = {}
            for row in rows:
                self._last, self._last_at = row, file.tell()
                file.write(self._line(row))

        write_atomically(self.path, write)

    def _line(self, row: Mapping[str, str]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, restval="").writerow(row)
        return text.getvalue().encode()
