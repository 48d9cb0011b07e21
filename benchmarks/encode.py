"""Images per second from files to codes, beside torchreid's extractor, as a Markdown table.

    python benchmarks/encode.py --output FILE

ResNet-18 with random weights, the same in every row, on synthetic persons at 128 x 48; one thread;
medians of runs that take turns in one process, each from image files to codes. torchreid is the
package of that name (0.2.5); without it its row is skipped and that is said.
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from metrics import processor, turns
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

from reid_lib.config import RunConfig
from reid_lib.model import encode, network_of
from reid_lib.pedestrians import write_dataset
from reid_lib.retrieval.encode import encode_folder, list_images, read_codes_file
from reid_lib.retrieval.encoders import Encoder, open_encoder
from reid_lib.retrieval.export import export_onnx

SIZE = (128, 48)


def encoders(work: Path) -> dict[str, Encoder]:
    """The same network as a run in float32, in bf16, and as an ONNX file."""
    config = RunConfig(row="encode", setting="set1", start="random", image_size=SIZE)
    net = network_of(config.model_copy(update={"precision": "bf16"}), persons=2).eval()
    (work / "config.json").write_text(config.model_dump_json())
    save_file(net.state_dict(), work / "weights.safetensors")
    export_onnx(work, work / "net.onnx")
    return {
        "torch, fp32": open_encoder(work),
        "torch, bf16": Encoder("bf16", "", SIZE, lambda pixels: encode(net, pixels).numpy()),
        "onnxruntime": open_encoder(work / "net.onnx"),
    }


def torchreid(work: Path) -> Callable | None:
    """Its extractor with the same weights, from a list of files to codes."""
    try:
        from torchreid.reid.utils import FeatureExtractor
    except ModuleNotFoundError:
        return None
    file = work / "resnet18.pth"
    torch.save(network_of(RunConfig(row="x", setting="set1"), 2).backbone.state_dict(), file)
    extract = FeatureExtractor("resnet18", str(file), image_size=SIZE, device="cpu", verbose=False)

    def run(folder: Path) -> np.ndarray:
        paths = [str(folder / name) for name in list_images(folder)]
        return torch.cat([extract(paths[i : i + 128]) for i in range(0, len(paths), 128)]).numpy()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--persons", type=int, default=32, help="16 images each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="a sentence about the machine")
    parser.add_argument("--output", type=Path, help="write the table here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place, threadpool_limits(1):
        work = Path(place)
        write_dataset(work / "images", options.persons, 0)

        def whole(encoder: Encoder) -> Callable:
            def run(folder: Path) -> np.ndarray:
                encode_folder(folder, work / "codes.npz", encoder)
                return read_codes_file(work / "codes.npz")["codes"]

            return run

        candidates = {name: whole(encoder) for name, encoder in encoders(work).items()}
        peer = torchreid(work)
        candidates |= {"torchreid 0.2.5, fp32": peer} if peer else {}
        codes = {name: run(work / "images") for name, run in candidates.items()}
        seconds = turns(candidates, (work / "images",), options.rounds)
    first = next(iter(codes.values()))
    text = [
        f"{processor()}, 1 thread; Python {platform.python_version()}, torch {torch.__version__}, "
        f"onnxruntime {onnxruntime.__version__}; {len(first):,} images. {options.note}".strip(),
        *([] if peer else ["Skipped: torchreid (not found)."]),
        "",
        "| `reid encode` with | images/s | relative difference of the codes |",
        "| --- | ---: | ---: |",
    ]
    for name, made in codes.items():
        apart = np.linalg.norm(made - first) / np.linalg.norm(first)
        text.append(f"| {name} | {len(first) / seconds[name]:,.0f} | {100 * apart:.2g} % |")
    print("\n".join(text))
    if options.output:
        options.output.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
