"""The numbers of `sightline eval` as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

NAMES = {
    "ap50": "AP50",
    "ap": "AP",
    "mask_miou": "mask IoU",
    "hota": "HOTA",
    "hota_bytetrack": "· ByteTrack",
    "hota_iou": "· IoU tracker",
    "idf1": "IDF1",
    "mota": "MOTA",
    "semantic_miou": "semantic mIoU",
    "pck10": "PCK@0.1",
    "action_top1": "action top-1",
    "action_top1_shuffled": "· shuffled",
}
GROUPS = {
    "by_theme": "theme",
    "by_theme_in_training": "trained theme",
    "by_weather": "weather",
    "by_hour": "hour",
    "by_camera": "camera",
    "by_people": "people",
}
TRACKERS = {
    "bytetrack": "ByteTrack",
    "bytetrack_tuned": "ByteTrack, tuned",
    "iou": "IoU tracker",
}
SHORT = {
    "mask_miou": "mask",
    "hota_bytetrack": "ByteT.",
    "hota_iou": "IoU t.",
    "semantic_miou": "sem.",
    "pck10": "PCK",
    "action_top1": "act.",
}  # headings of the widest table


def show(numbers: Mapping[str, Any], console: Console | None = None) -> None:
    """Print everything that a person wants to see; the JSON holds more."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file has room for the widest table
    details = numbers["details"]
    told = f"{numbers['model']} on {numbers['backend']} ({numbers['precision']})"
    console.print(f"{told}: {numbers['streets']} {numbers['split']} streets, {numbers['frames']} frames")
    console.print(_counts(numbers, details))
    console.print(_trackers(details))
    console.print(_classes(details))
    console.print(_groups(details))
    if details["semantic"] is not None:
        console.print(_line("semantic IoU", details["semantic"]["iou_by_class"]))
    if details["key_points"] is not None:
        points = details["key_points"]
        console.print(_line("PCK@0.1", {**points["pck10_by_point"], "hidden ones": points["pck10_hidden"]}))
    _show_actions(console, details)
    ece = details["calibration"]["ece"]
    console.print(f"expected calibration error of the scores shown: {_number(ece)}")
    console.print(f"[dim]{numbers['count'].replace('clear:', 'clear objects:')}.[/]")
    console.print("[dim]Accuracy in the synthetic world is not accuracy on a real camera.[/]")


def _counts(numbers: Mapping[str, Any], details: Mapping[str, Any]) -> Table:
    """The flat numbers, and beside them those of everything."""
    table = Table("", "clear", "everything", box=None, pad_edge=False)
    for key, name in NAMES.items():
        table.add_row(name, _number(numbers[key]), _number(details["everything"].get(key), ""))
    for key in ("switches", "misses", "false_positives", "objects"):
        table.add_row(key.replace("_", " "), *(str(details[c][key]) for c in ("clear", "everything")))
    return table


def _trackers(details: Mapping[str, Any]) -> Table:
    """The model's own tracks beside what others make of the same boxes."""
    names = ("HOTA", "DetA", "AssA", "IDF1", "MOTA")
    table = Table("tracks, same boxes", *names, "switches", box=None, pad_edge=False)
    rows = (("the model", details["clear"]), *((TRACKERS[k], v) for k, v in details["baselines"].items()))
    for name, row in rows:
        table.add_row(name, *(_number(row[k.lower()]) for k in names), str(row["switches"]))
    return table


def _classes(details: Mapping[str, Any]) -> Table:
    keys = ("ap50", "ap", "mask_miou", "hota", "idf1", "mota")
    table = Table("class", *(NAMES[k] for k in keys), "objects", box=None, pad_edge=False)
    for name, row in details["by_class"].items():
        table.add_row(name, *(_number(row[k]) for k in keys), str(row["objects"]))
    return table


def _groups(details: Mapping[str, Any]) -> Table:
    """The streets by theme, weather, hour, camera and crowd; only the numbers that the model has."""
    rows = [(title, name, row) for key, title in GROUPS.items() for name, row in details[key].items()]
    keys = [k for k in NAMES if any(row.get(k) is not None for _, _, row in rows)]
    table = Table("by", "", "streets", *(SHORT.get(k, NAMES[k]) for k in keys), box=None, pad_edge=False)
    for n, (title, name, row) in enumerate(rows):
        again = n and rows[n - 1][0] == title
        cells = (_number(row[k]) for k in keys)
        table.add_row("" if again else title, name, str(row["streets"]), *cells)
    return table


def _show_actions(console: Console, details: Mapping[str, Any]) -> None:
    actions, order, falls = details["actions"], details["order"], details["falls"]
    if actions is not None:
        console.print(_line("action", actions["by_class"]))
        since = {f"{low} s": span["top1"] for low, span in actions["by_seconds"].items()}
        console.print(_line("action, by how long the person had been at it, from", since))
        young = _number(actions["young_share"])
        console.print(
            f"{actions['asked']} person frames; tracks younger than a clip are not counted (share {young})"
        )
    if order is not None:
        for key, name in (("clip", "whole clips"), ("ring", "rings only")):
            row = order[key]
            asked = sum(row["asked"].values())
            console.print(
                f"order pairs, {name}: in order {_number(row['ordered'])}, shuffled {_number(row['shuffled'])}"
                f" (chance 0.500; {asked} asked)"
            )
    if falls is not None:
        console.print(
            f"falls: {falls['noticed']} of {falls['falls']} noticed, {falls['told']} told, "
            f"precision {_number(falls['precision'])}, delay {_number(falls['delay_frames_mean'])} frames"
            f" (median {_number(falls['delay_frames_median'])})"
        )


def _line(title: str, values: Mapping[str, Any]) -> Table:
    """Names and values in rows of five."""
    table = Table(title, *([""] * 4), box=None, pad_edge=False)
    cells = [f"{name.replace('_', ' ')} {_number(value)}" for name, value in values.items()]
    for first in range(0, len(cells), 5):
        table.add_row(*cells[first : first + 5])
    return table


def _number(value: Any, without: str = "–") -> str:
    """A share, or a word for what is not there."""
    return without if value is None else f"{value:.3f}"
