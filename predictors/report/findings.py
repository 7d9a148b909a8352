"""What the figures come to, in sentences made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from predictors.evaluation.text import SURE
from predictors.report.evidence import Estimate, Fit, Model, Task
from predictors.report.measures import measure

WELL, FAIRLY = 0.03, 0.1  # calibration errors up to which probabilities are said to be right, and roughly so


def abstract(task: Task, calibrated: Mapping[str, float], ablation: Mapping[str, Any], price: float) -> list[str]:
    """A task's findings, the most important first: who is best, over whom, how surely, and at what cost."""
    if not task.headlines:
        return [f"Nothing was measured on {task.held_out}."]
    name = task.headlines[0]
    ranked = ranking(task, name)
    best = ranked[0]
    said = [f"On {task.held_out}, {best.name} has the best {measure(name).label}: {quantity(best.estimates[name])}."]
    rivals = [model for model in ranked[1:] if not model.naive]
    naive = [model for model in ranked if model.naive]
    said = [*_advice(task, ranked, name), *said]
    said += [against(task, best, other, name) for other in (*rivals[:1], *(() if best.naive else naive[:1]))]
    said += _elsewhere(task, best)
    if best.name in calibrated:
        said.append(_believable(best.name, calibrated[best.name]))
    said += [sentence for fit in task.fits for sentence in _needed(fit.name, ablation.get(fit.name, {}), name)]
    said += [_priced(best.name, fit, price) for fit in task.fits if best.name in fit.cost]
    return said


def ranking(task: Task, name: str) -> list[Model]:
    """The models that have this measure, the best first."""
    sign = 1 if measure(name).greater else -1
    measured = [model for model in task.models if name in model.estimates]
    return sorted(measured, key=lambda model: -sign * model.estimates[name].value)


def against(task: Task, one: Model, other: Model, name: str) -> str:
    """How `one` stands to `other`, and whether chance may have made that."""
    label, apart = measure(name).label, one.estimates[name].value - other.estimates[name].value
    kind = "the naive baseline " if other.naive else ""
    found = task.difference(one.name, other.name, name)
    if found is None:
        return f"Its {label} is {_moved(apart)} {kind}{other.name}; the two were not compared row by row."
    lead = f"Its {label} is {_moved(found['value'])} {kind}{other.name} ({_interval(found)}, {chance(found['p'])})"
    if found["p"] < SURE:
        return f"{lead}: more than the draw of held-out rows explains."
    return f"{lead}: these rows cannot tell the two apart."


def verdicts(task: Task) -> Iterator[tuple[str, str]]:
    """Each pair of models that are not both naive, on the measure that decides, with what to make of it."""
    models = {model.name: model for model in task.models}
    for pair in task.differences:
        one, other = models[pair["of"]], models[pair["less"]]
        for name in task.headlines[:1]:
            if name not in pair["measures"] or (one.naive and other.naive):
                continue
            found = pair["measures"][name]
            better, worse = (one, other) if (found["value"] > 0) == measure(name).greater else (other, one)
            numbers = f"{abs(found['value']):.3f} of {measure(name).label}, {chance(found['p'])}"
            if found["p"] < SURE:
                yield f"{better.name} is better than {worse.name}", numbers
            else:
                yield f"{one.name} and {other.name} cannot be told apart", numbers


def quantity(found: Estimate) -> str:
    """A value with its interval."""
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def chance(p: float) -> str:
    """A p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def plain(value: float) -> str:
    """Two significant digits, without an exponent."""
    return np.format_float_positional(value, precision=2, fractional=False, trim="-")


def thousand(cost: Mapping[str, float], price: float) -> tuple[float, float]:
    """CPU-seconds of 1,000 predictions, and what they cost where a CPU-hour costs `price`."""
    seconds = 1000 * cost["cpu_seconds"] / cost["rows"] if cost["rows"] else 0.0
    return seconds, seconds / 3600 * price


def _advice(task: Task, ranked: Sequence[Model], name: str) -> list[str]:
    """What to use, if anything; a rival that is as good and cheaper is named."""
    best = ranked[0]
    if best.naive:
        return [f"Use none of them yet: {best.name}, a naive baseline, is above every trained predictor."]
    naive = next((model for model in ranked if model.naive), None)
    if naive and (found := task.difference(best.name, naive.name, name)) and found["p"] >= SURE:
        return [f"Nothing here is surely better than {naive.name}, a naive baseline: get more data first."]
    spent = {who: thousand(cost, 0.0)[0] for fit in task.fits for who, cost in fit.cost.items()}
    for rival in ranked[1:]:
        cheaper = spent.get(rival.name, np.inf) < spent.get(best.name, 0.0)
        if cheaper and not rival.naive and _as_good(task, rival, best):
            share = spent[rival.name] / spent[best.name]
            return [
                f"Use {best.name}, or {rival.name} where cost counts: these rows cannot tell the two apart, and it "
                f"takes {100 * share:.0f}\u00a0% of the CPU time."
            ]
    return [f"Use {best.name}."]


def _as_good(task: Task, rival: Model, best: Model) -> bool:
    """Whether chance may have put the rival behind, by the measure that decides and by the other headlines."""
    pairs = {name: task.difference(best.name, rival.name, name) for name in task.headlines}
    surely = [measure(n).greater == (pair["value"] > 0) for n, pair in pairs.items() if pair and pair["p"] < SURE]
    return pairs[task.headlines[0]] is not None and not any(surely)


def _elsewhere(task: Task, best: Model) -> list[str]:
    """Measures on which another model leads, and surely so."""
    said = []
    for name in task.headlines[1:]:
        first = ranking(task, name)[0]
        found = task.difference(first.name, best.name, name)
        if first is not best and (found is None or found["p"] < SURE):
            said.append(f"By {measure(name).label} {first.name} is ahead: {quantity(first.estimates[name])}.")
    return said


def _believable(name: str, error: float) -> str:
    says = "can be taken at their word" if error <= WELL else "are roughly right" if error <= FAIRLY else "mislead"
    return f"Its probabilities {says}: they are {error:.3f} off on average (expected calibration error of {name})."


def _needed(name: str, found: Mapping[str, Mapping[str, Any]], decides: str) -> list[str]:
    """Which modalities a predictor stands on."""
    changes = {modality: said["measures"][decides] for modality, said in found.items() if decides in said["measures"]}
    if not changes:
        return []
    sign = -1 if measure(decides).greater else 1
    hurt = {modality: c for modality, c in changes.items() if sign * c["value"] > 0 and c["p"] < SURE}
    if not hurt:
        return [f"No single modality is indispensable to {name}: without any one of them it does as well."]
    worst = sorted(hurt, key=lambda modality: -abs(hurt[modality]["value"]))
    parts = [f"{modality} ({hurt[modality]['value']:+.3f})" for modality in worst]
    return [f"{name} needs {_and(parts)}: the change of its {measure(decides).label} when trained without."]


def _priced(name: str, fit: Fit, price: float) -> str:
    seconds, money = thousand(fit.cost[name], price)
    return f"1,000 predictions of {name} took {plain(seconds)} CPU-seconds, {plain(money)} at {price:g} a CPU-hour."


def _moved(value: float) -> str:
    return f"{abs(value):.3f} {'above' if value >= 0 else 'below'} that of"


def _interval(found: Mapping[str, float]) -> str:
    return f"95\u00a0% interval {found['low']:+.3f} to {found['high']:+.3f}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
