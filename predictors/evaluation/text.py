"""A comparison as tables: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SURE = 0.05  # p-values below it are marked


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows of texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Two for each task: the models with their intervals, and the differences of every two."""
    for task, judged in report["tasks"].items():
        models = judged["models"]
        measures = list(dict.fromkeys(name for model in models.values() for name in model["estimates"]))
        units = f"{min(judged['units']):,} held-out {judged['resampled']}"
        rows = [
            [name, *(_estimate(model["estimates"].get(measure)) for measure in measures)]
            for name, model in models.items()
        ]
        yield Table(f"{task}: {units}, mean [95 % interval]", ("model", *measures), rows)
        differences = [
            [f"{pair['of']} - {pair['less']}", *(_difference(pair["measures"].get(measure)) for measure in measures)]
            for pair in judged["differences"]
        ]
        yield Table(f"{task}: paired differences (* p < {SURE})", ("models", *measures), differences)


def to_markdown(report: Mapping[str, Any]) -> str:
    """The tables, and how they were made."""
    seeds = ", ".join(map(str, report["seeds"]))
    made = f"Split `{report['split'] or 'of each task'}`, seeds {seeds}, {report['resamples']:,} resamples.\n"
    parts = ["# Comparison\n", made]
    for table in tables(report):
        rows = [table.columns, ["---"] * len(table.columns), *table.rows]
        parts += [f"## {table.title}\n", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(parts)


def _estimate(said: Mapping[str, float] | None) -> str:
    return "" if said is None else f"{said['value']:.4f} [{said['low']:.4f}, {said['high']:.4f}]"


def _difference(said: Mapping[str, float] | None) -> str:
    return "" if said is None else f"{said['value']:+.4f}{'*' if said['p'] < SURE else ''}"
