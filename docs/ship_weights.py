"""Take trained networks into the bundles that are shipped, as float16.

    nucleosynth train TILES -o FIRST --mpp 0.25 --preset quick --overlay shipped
    nucleosynth train TILES -o SECOND --mpp 0.25 --preset quick --overlay self_train --teacher FIRST
    (and so on: docs/training.md)
    python docs/ship_weights.py E F D C A B SECOND FIRST --averaged 6 --synthesis FIRST

on the tiles that ``bundles/*/docs/data_license.txt`` names. Their records and MLflow runs come along, without the paths
of this machine. For a round that is shipped already its bundle will do, which holds the records of those before it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from mlflow import MlflowClient

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def halve(sources: Sequence[Path], target: Path) -> None:
    """Write the mean of state dictionaries in half precision."""
    states = [torch.load(source, weights_only=True) for source in sources]
    mean = {key: sum(state[key].double() for state in states) / len(states) for key in states[0]}
    half = {key: value.half() if states[0][key].is_floating_point() else states[0][key] for key, value in mean.items()}
    if not all(torch.isfinite(value).all() for value in half.values() if value.is_floating_point()):
        raise ValueError(f"{sources[0]}: a value does not fit into 16 bits")
    target.parent.mkdir(exist_ok=True)
    torch.save(half, target)


def tracked(run: Path) -> dict[str, object]:
    """Parameters, tags and last metrics of the training's MLflow run."""
    known = json.loads((run / "mlflow_run.json").read_text())
    found = MlflowClient(f"sqlite:///{(run / 'mlflow.db').resolve()}").get_run(known["run_id"])
    about = {"run_id": found.info.run_id, "status": found.info.status}
    for name in ("params", "tags", "metrics"):
        values = getattr(found.data, name)
        about[name] = {key: values[key] for key in sorted(values) if not is_local(key, str(values[key]))}
    return about


def is_local(key: str, value: str) -> bool:
    """Whether a value says where this machine keeps its files, or who works at it."""
    return key.startswith("mlflow.") or str(Path.home()) in value or "/" in value.strip("'\"")[:1]


def about(run: Path) -> dict[str, object]:
    """The record of a training, without the paths of this machine."""
    record = json.loads((run / "run.json").read_text())
    for each in record["inputs"]:
        each["path"] = Path(each["path"]).name
    kept = {key: record[key] for key in ("command", "settings", "versions", "inputs", "metrics", "warnings")}
    if kept["settings"].get("teacher"):
        kept["settings"]["teacher"] = Path(kept["settings"]["teacher"]).name
    return {**kept, "mlflow_run": tracked(run)}


def rounds(run: Path) -> list[dict[str, object]]:
    """The record of a training, or those that a bundle that was shipped keeps."""
    shipped = run / "models" / "model.json"
    return json.loads(shipped.read_text()) if shipped.exists() else [about(run)]


def ship(bundle: str, file: str, runs: Sequence[Path], averaged: int = 1) -> None:
    """Take the mean of the first main networks, and beside it, as JSON, how all were trained: the last ones first."""
    target = BUNDLES / bundle / "models" / file
    records = [record for run in runs for record in rounds(run)]
    halve([run / bundle / "models" / "model.pt" for run in runs[:averaged]], target)
    target.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n")


def ship_synthesis(run: Path) -> None:
    """Take refiner, discriminator and calibration."""
    ship("nuclei_synthesis", "model.pt", [run])
    trained, shipped = (folder / "nuclei_synthesis" / "models" for folder in (run, BUNDLES))
    halve([trained / "discriminator.pt"], shipped / "discriminator.pt")
    (shipped / "calibration.json").write_text((trained / "calibration.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=Path, nargs="*", help="of the default weights, the last one first")
    parser.add_argument("--averaged", type=int, default=1, help="how many of them are averaged")
    parser.add_argument("--research", type=Path, nargs="+", help="of the weights for research")
    parser.add_argument("--averaged-research", type=int, default=1, help="how many of these are averaged")
    parser.add_argument("--synthesis", type=Path, help="for the bundle nuclei_synthesis")
    given = parser.parse_args()
    # What is read first may be what is written next.
    if given.research:
        ship("nuclei_segmentation", "model_research.pt", given.research, given.averaged_research)
    if given.rounds:
        ship("nuclei_segmentation", "model.pt", given.rounds, given.averaged)
    if given.synthesis:
        ship_synthesis(given.synthesis)


if __name__ == "__main__":
    main()
