"""Take the networks of a finished training into the bundles that are shipped, as float16.

    python docs/ship_weights.py RUN

RUN is the output of ``nucleosynth train TILES -o RUN --mpp 0.25 --preset quick --overlay shipped``, on the tiles that
``bundles/*/docs/data_license.txt`` names. Its record and its MLflow run come along, without the paths of this machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from mlflow import MlflowClient

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
MODELS = {"nuclei_segmentation": ("model.pt",), "nuclei_synthesis": ("model.pt", "discriminator.pt")}


def halve(source: Path, target: Path) -> None:
    """Write a state dictionary in half precision."""
    state = torch.load(source, weights_only=True)
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    if not all(torch.isfinite(value).all() for value in half.values() if value.is_floating_point()):
        raise ValueError(f"{source}: a value does not fit into 16 bits")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    record = json.loads((run / "run.json").read_text())
    for each in record["inputs"]:
        each["path"] = Path(each["path"]).name
    for bundle, files in MODELS.items():
        models = BUNDLES / bundle / "models"
        for file in files:
            halve(run / bundle / "models" / file, models / file)
        kept = {key: record[key] for key in ("command", "settings", "versions", "inputs", "metrics", "warnings")}
        (models / "mlflow_run.json").write_text(json.dumps(tracked(run), indent=1) + "\n")
        (models / "training.json").write_text(json.dumps(kept, indent=1) + "\n")
    calibration = (run / "nuclei_synthesis" / "models" / "calibration.json").read_text()
    (BUNDLES / "nuclei_synthesis" / "models" / "calibration.json").write_text(calibration)


if __name__ == "__main__":
    main()
