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
    add(
        "--data",
        type=Path,
        help="a folder or CSV file that `reid check` accepts (default: the run's own test images)",
    )
    add("--split", type=int, help="score only the test persons of this split (default: all)")
    add("--persons", type=Path, help="JSON file with the ids of the persons to use (default: all)")
    text = "also write the scores as a JSON file into this folder; WEIGHTS must be a run folder"
    add("--record", metavar="DIR", type=Path, help=f"{text} (default: none)")

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
    from reid_lib.engine.runs import read_run
    from reid_lib.retrieval import evaluate
    from reid_lib.retrieval.encoders import open_encoder
    from reid_lib.retrieval.readers import read_images

    run = None
    if arguments.record or arguments.data is None:
        run = read_run(arguments.weights)
    if arguments.data is None:
        scored = evaluate.own_test_images(run)
    else:
        read_images(arguments.data)  # report wrong data before the network is loaded
        options = arguments.data, arguments.split, arguments.persons
        scored = evaluate.encode_data(open_encoder(arguments.weights), *options)
    print(evaluate.scores_text(evaluate.evaluate_data(scored)))
    if arguments.record:
        from reid_lib.study.domains import write_record

        print(write_record(run, scored, arguments.record))


def _export(arguments) -> None:
    from reid_lib.retrieval.export import export_half, export_onnx

    export = export_half if arguments.out.suffix == ".safetensors" else export_onnx
    export(arguments.weights, arguments.out)
    print(arguments.out)
