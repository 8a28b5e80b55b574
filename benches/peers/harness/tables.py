"""Medians, ratios and Markdown tables."""

import statistics


def median(values) -> float:
    values = list(values)
    return statistics.median(values) if values else float("nan")


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    pad = lambda row: [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [pad(heads), rule, *map(pad, rows)])


def noise(reports: list[dict]) -> str:
    """How quiet the machine was."""
    others = [report["others_cpu"] for report in reports if "failure" not in report]
    if not others:
        return "No run gave figures."
    text = f"Other processes used {median(others):.2f} cores (median), {max(others):.2f} at most."
    return text + (" That is too much for figures that are to be kept." if median(others) > 0.1 else "")
