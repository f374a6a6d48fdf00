"""How fast are nuclei of slides found, in how much memory, and what does it cost beside the network?

    python benchmarks/slides.py --model MODEL [SLIDE ...] [--side 20480] [--turns 2] [--json FILE]

Makes phantom slides of SIDE x SIDE pixels and of a quarter of that area, at 0.25 µm/px (a field of phantom tissue,
repeated), and segments them and the given slides, each in a process of its own, as ``nucleosynth segment`` does. In the
same process, right afterwards, the bare network goes over windows of the same tiles again, which are there already: the
ratio of the two does not depend on the machine. Then cuCIM against OpenSlide on the same frames, and what follows the
network alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from nucleosynth.threads import let_threads_sleep


def in_process(function: str, *arguments: Any) -> Any:
    """What a function of ``slide_runs`` returns in a fresh process: its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, function, arguments).result()


def call(function: str, arguments: tuple[Any, ...]) -> Any:
    # Imported here only: processes import the script that began them, and those that outline nuclei would then import
    # PyTorch as well, which they do not where the command line began them.
    return getattr(importlib.import_module("slide_runs"), function)(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="*")
    parser.add_argument("--model", required=True)
    parser.add_argument("--side", type=int, default=20480)
    parser.add_argument("--turns", type=int, default=2, help="orientations that the network looks from")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    let_threads_sleep()  # As the command line does, before torch is there.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        phantoms = [
            in_process("write_slide", folder / f"phantom_{side}.tiff", side)
            for side in (arguments.side // 2, arguments.side)
        ]
        rows = []
        for number, path in enumerate([*map(str, phantoms), *arguments.slides]):
            rows.append(in_process("whole_run", path, str(folder / str(number)), arguments.model, arguments.turns))
            print(json.dumps(rows[-1]), flush=True)
        rates = in_process("after_the_network", str(phantoms[0]), str(folder / "0"), arguments.model)
        reading = in_process("readers", str(phantoms[0]))
    columns = "whole / bare network|whole / streamed network|read, predict, outline, export [s]|peak, worker [MB]"
    print(f"\n|slide|nuclei|mm²|mm²/s|{columns}|")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        stages = ", ".join(f"{row['stages'][name]:.1f}" for name in ("read", "predict", "outline", "export"))
        print(
            f"| {row['slide']} | {row['nuclei']} | {row['mm2']:.2f} | {row['mm2_per_s']:.3f} | "
            f"{row['whole_to_bare']:.2f} | {row['whole_to_streamed']:.2f} | {stages} | "
            f"{row['peak_mb']:.0f}, {row['worker_mb']:.0f} |"
        )
    print(f"\nnuclei a minute and core: outlined {rates['outline']:.0f}, written as GeoJSON {rates['geojson']:.0f}")
    print("reading: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in reading.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "rates": rates, "reading": reading}, indent=1) + "\n")


if __name__ == "__main__":
    main()
