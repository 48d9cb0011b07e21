"""The commands `reid encode`, `rank`, `evaluate` and `export`."""

import sys
from pathlib import Path

SKIPPED = 3  # exit status: done, but some images could not be read


def add_commands(command) -> None:
    """Add the four commands; `command(name, run, help)` returns `add_argument` of a new parser."""
    weights = "drawn (comes with the package), a run folder, or a file: .onnx or torchvision's name"
    add = command("encode", _encode, "compute the codes of all images in a folder")
    add("folder", metavar="DIR", type=Path, help="folder of images; subfolders are included")
    add("--out", type=Path, required=True, help="file of codes to write, such as codes.npz")
    add("--weights", default="drawn", help=f"{weights} (default: drawn)")

    add = command("rank", _rank, "rank an encoded gallery for query images")
    add("queries", metavar="QUERY", type=Path, nargs="+", help="image files")
    add("--gallery", type=Path, required=True, help="file of codes written by `reid encode`")
    add("--top", type=int, default=10, help="number of images per query (default: 10)")
    add("--html", type=Path, help="also write an HTML page with the images (default: none)")

    text = "evaluate a network on a data set; prints scores and evaluation protocol"
    add = command("evaluate", _evaluate, text)
    add("weights", metavar="WEIGHTS", help=weights)
    add("--data", type=Path, required=True, help="a folder or CSV file that `reid check` accepts")

    add = command("export", _export, "write a network as an ONNX file or in half precision")
    add("weights", metavar="WEIGHTS", help=weights)
    text = (
        "the file to write: net.onnx, or resnet18_half.safetensors, which begins with the backbone"
    )
    add("--out", type=Path, required=True, help=text)


def _encode(arguments) -> int:
    from reid_lib.retrieval.encode import encode_folder, list_images
    from reid_lib.retrieval.encoders import open_encoder

    list_images(arguments.folder)  # report a wrong folder before the network is loaded
    encoder = open_encoder(arguments.weights)
    bad = encode_folder(arguments.folder, arguments.out, encoder, sys.stderr.isatty())
    for name, reason in bad.items():
        print(f"skipped {name!r}: {reason}", file=sys.stderr)
    print(f"{arguments.out}: codes of {arguments.folder}, {len(bad)} images skipped")
    return SKIPPED if bad else 0


def _rank(arguments) -> None:
    from reid_lib.retrieval.rank import rank, write_page

    ranked = rank(arguments.queries, arguments.gallery, arguments.top)
    print(ranked.to_string(index=False, float_format="%.3f"))
    if arguments.html:
        write_page(ranked, arguments.html)
        print(arguments.html)


def _evaluate(arguments) -> None:
    from reid_lib.retrieval.encoders import open_encoder
    from reid_lib.retrieval.evaluate import evaluate_data, scores_text
    from reid_lib.retrieval.readers import read_images

    read_images(arguments.data)  # report wrong data before the network is loaded
    print(scores_text(evaluate_data(open_encoder(arguments.weights), arguments.data)))


def _export(arguments) -> None:
    from reid_lib.retrieval.export import export_half, export_onnx

    export = export_half if arguments.out.suffix == ".safetensors" else export_onnx
    export(arguments.weights, arguments.out)
    print(arguments.out)
