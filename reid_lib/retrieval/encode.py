"""From a folder of images to one file of codes."""

from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from reid_lib.dataset import decode
from reid_lib.engine import layouts
from reid_lib.engine.files import write_file
from reid_lib.retrieval.encoders import Encoder

SUFFIXES = {*layouts.SUFFIXES, ".webp"}
BATCH = 128
SAVE_EVERY = 50  # batches; a killed encoding goes on from the last saved one


def list_images(folder: str | Path) -> list[str]:
    """The image files at or below a folder, sorted, as paths relative to it.

    Raises:
        ValueError: the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected one that holds images")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    return [path.relative_to(folder).as_posix() for path in paths]


def encode_folder(
    folder: str | Path, out: str | Path, encoder: Encoder, progress: bool = False
) -> dict[str, str]:
    """Encode every image at or below a folder and write the codes to one file.

    `out` (.npz) holds names (N,), relative to the folder; codes (N, D) float32; folder; weights
    and weights_sha256. While it is being made, `<out>.partial` keeps what is finished: a second
    call with the same weights goes on from there. Images that cannot be read are left out.

    Args:
        folder: folder that contains the images.
        out: the file to write.
        encoder: the encoder that `open_encoder` returns.
        progress: show a bar.
    Returns:
        The names that were left out -> why.
    Raises:
        ValueError: the folder holds no image, or none that can be read.
    """
    folder, out = Path(folder), Path(out)
    names, partial = list_images(folder), out.with_name(f"{out.name}.partial")
    done = _finished(partial, folder, encoder)
    left, bad = [name for name in names if name not in done], {}
    bar = tqdm(total=len(names), initial=len(done), unit=" images", disable=not progress)
    try:
        for number, first in enumerate(range(0, len(left), BATCH), 1):
            batch = {}
            for name in left[first : first + BATCH]:
                try:
                    batch[name] = decode((folder / name).read_bytes(), encoder.size)
                except (ValueError, OSError) as error:
                    bad[name] = str(error)
                bar.update()
            if batch:
                pixels = torch.from_numpy(np.stack(list(batch.values()))).permute(0, 3, 1, 2)
                done |= zip(batch, encoder.encode(pixels), strict=True)
            if number % SAVE_EVERY == 0:
                _write(partial, folder, done, encoder)
    except KeyboardInterrupt:
        if done:
            _write(partial, folder, done, encoder)
        raise
    bar.close()
    if not done:
        raise ValueError(f"no image of {folder} can be read; first: {next(iter(bad.items()))}")
    _write(out, folder, {name: done[name] for name in names if name in done}, encoder)
    partial.unlink(missing_ok=True)
    return bad


def read_codes_file(file: str | Path) -> dict[str, np.ndarray]:
    """Read a file of `encode_folder`.

    Raises:
        ValueError: it is not such a file.
    """
    if not Path(file).is_file():
        raise ValueError(f"{file} is not a file; expected one of `reid encode`")
    wanted = ("names", "codes", "folder", "weights", "weights_sha256")
    try:
        with np.load(file, allow_pickle=False) as archive:
            content = {name: np.asarray(archive[name]) for name in wanted}
    except (OSError, ValueError, KeyError, EOFError) as error:
        what = "" if "allow_pickle" in str(error) else f" ({error})"  # its advice would be unsafe
        raise ValueError(f"{file} was not written by `reid encode`{what}") from None
    except Exception as error:  # zipfile's own errors for a damaged archive
        raise ValueError(f"{file} is damaged ({error}); encode the folder again") from None
    names, codes = content["names"], content["codes"]
    texts = all(content[name].dtype.kind == "U" for name in wanted if name != "codes")
    if not texts or codes.dtype != np.float32 or codes.ndim != 2 or names.shape != codes.shape[:1]:
        shapes = f"names {names.dtype} {names.shape} and codes {codes.dtype} {codes.shape}"
        raise ValueError(f"{file} holds {shapes}; expected strings (N,) and float32 (N, D)")
    return content


def _finished(partial: Path, folder: Path, encoder: Encoder) -> dict[str, np.ndarray]:
    """Codes of an encoding that was killed, unless another network or folder made them."""
    try:
        content = read_codes_file(partial)
    except ValueError:
        return {}
    same = content["weights_sha256"] == encoder.sha256 and content["folder"] == str(folder)
    return dict(zip(content["names"].tolist(), content["codes"], strict=True)) if same else {}


def _write(file: Path, folder: Path, codes: dict, encoder: Encoder) -> None:
    content = {"names": np.array(list(codes)), "codes": np.stack(list(codes.values()))}
    about = {"folder": str(folder), "weights": encoder.name, "weights_sha256": encoder.sha256}

    def write(path):
        with Path(path).open("wb") as stream:  # np.savez would append .npz to a temporary name
            np.savez(stream, **content, **about)

    write_file(file, write)
