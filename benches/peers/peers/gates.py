"""Targets as lines of a record: what was measured, the gate, the aim, and whether they were met. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """One target. `value` is None where this run has no such figure, and `note` then says why."""

    title: str
    value: float | None
    gate: float
    aim: float
    unit: str = "×"
    less_is_better: bool = False
    note: str = ""

    def reaches(self, bound: float) -> bool:
        return self.value is not None and (self.value < bound if self.less_is_better else self.value >= bound)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.reaches(self.aim):
            return "met, and the aim"
        return "met" if self.reaches(self.gate) else f"**missed** by {abs(self.value / self.gate - 1):.0%}"

    def text(self, value: float) -> str:
        if self.unit == "%":
            return f"{value:.1%}"
        return f"{value:.3g} {self.unit}" if value < 1 else f"{value:.2f} {self.unit}"


def table(gates: list[Gate]) -> list[str]:
    """Markdown."""
    met, measured = sum(gate.reaches(gate.gate) for gate in gates), sum(gate.value is not None for gate in gates)
    lines = [f"{met} of {measured} measured gates met, {sum(gate.reaches(gate.aim) for gate in gates)} of the aims; {len(gates) - measured} not measured.", ""]
    lines += ["| target | measured | gate | aim | verdict | note |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for gate in gates:
        sign = "< " if gate.less_is_better else ""
        measured = "" if gate.value is None else gate.text(gate.value)
        lines.append(f"| {gate.title} | {measured} | {sign}{gate.text(gate.gate)} | {sign}{gate.text(gate.aim)} | {gate.verdict} | {gate.note} |")
    return lines


def as_json(gates: list[Gate]) -> list[dict]:
    """For the machine-readable record."""
    return [vars(gate) | {"met": gate.reaches(gate.gate), "aim_met": gate.reaches(gate.aim)} for gate in gates]
