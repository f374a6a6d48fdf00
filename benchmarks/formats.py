"""How fast is the shipped segmentation network in each format that it can be exported to, and does it stay the same?

    python benchmarks/formats.py [--turns 12] [--threads 2]

Exports with MONAI's own tools, then gives each format the same batch of 4 windows of 256 px in turns, so that a busy
machine slows all alike. Prints the median time of a batch as a ratio to the checkpoint in float32, and the largest
difference of a logit from it. Needs the extra ``export``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from monai.bundle import ConfigParser, ckpt_export, load, onnx_export

from nucleosynth.bundles import bundle_path
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.networks import from_uint8

SHAPE = (4, 3, 256, 256)
AXES = {0: "batch", 2: "height", 3: "width"}

Network = Callable[[torch.Tensor], torch.Tensor]


def formats(folder: Path, threads: int) -> dict[str, Network]:
    """The network in every format, each from float32 to float32."""
    bundle = bundle_path("nuclei_segmentation")
    config, meta, weights = (
        bundle / part for part in ("configs/inference.yaml", "configs/metadata.json", "models/model.pt")
    )
    parser = ConfigParser()
    parser.read_config(str(config))
    network = load(bundle.name, model=parser.get_parsed_content("network_def"), bundle_dir=bundle.parent).eval()
    given = {"net_id": "network_def", "ckpt_file": str(weights), "meta_file": str(meta), "config_file": str(config)}

    ckpt_export(filepath=str(folder / "model.ts"), **given)
    scripted = torch.jit.load(folder / "model.ts").eval()

    dynamic = {0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    torch.export.save(
        torch.export.export(network, (torch.zeros(SHAPE),), dynamic_shapes=(dynamic,)), folder / "model.pt2"
    )
    exported = torch.export.load(folder / "model.pt2").module()

    names = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": AXES}}
    path = str(folder / "model.onnx")
    onnx_export(filepath=path, use_trace=True, input_shape=list(SHAPE), converter_kwargs=names, **given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    channels_last = copy.deepcopy(network).to(memory_format=torch.channels_last)

    def bfloat16(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return channels_last(image.contiguous(memory_format=torch.channels_last)).float()

    return {
        "checkpoint, float32": network,
        "TorchScript (`ckpt_export`)": scripted,
        "`torch.export`": exported,
        "ONNX (`onnx_export`), ONNX Runtime": lambda image: torch.from_numpy(
            session.run(["pred"], {"image": image.numpy()})[0]
        ),
        "checkpoint, bfloat16, as the commands run it": bfloat16,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tissue = generate_phantom(PhantomSettings(width=512, height=512, tissue_share=1.0, seed=3)).image
    windows = torch.from_numpy(tissue).permute(2, 0, 1).unfold(1, 256, 256).unfold(2, 256, 256)
    image = from_uint8(windows.permute(1, 2, 0, 3, 4).reshape(SHAPE)).contiguous()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # MONAI exports with what PyTorch calls deprecated
        networks = formats(Path(folder), options.threads)
        size = {path.suffix: path.stat().st_size / 1e6 for path in Path(folder).iterdir()}
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for turn in range(options.turns + 2):
            for name, network in networks.items():
                begun = time.perf_counter()
                network(image)
                if turn >= 2:  # the first turns choose kernels
                    seconds[name].append(time.perf_counter() - begun)
        wanted = networks["checkpoint, float32"](image)
        off = {name: float((network(image) - wanted).abs().max()) for name, network in networks.items()}
    base = statistics.median(seconds["checkpoint, float32"])
    print("|format|time of a batch / float32 checkpoint|largest difference of a logit|\n|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times) / base:.2f} | {off[name]:.1g} |")
    print(f"\nfloat32 checkpoint: {1000 * base:.0f} ms a batch of 4 windows of 256 px; files [MB]: {size}")


if __name__ == "__main__":
    main()
