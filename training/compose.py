"""Compose an annotated set to measure on: python -m training.compose OUT --scenes 500 --seed 2026.

OUT/images/ and OUT/instances.json hold scenes of one to six objects with COCO's instances, boxes and masks exact;
OUT/classes/LABEL/ holds as many images of one object, as an ImageFolder. The same seed composes the same set, and
an image does not depend on how many there are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, CannotWrite, OpenVocabError
from training.drawings import HELD_OUT_STYLE, TRAINED_STYLES, Drawings, labels, load_folder, load_style
from training.scenes import ORDINARY, SINGLE, Scene, bank, compose

__all__ = ["compose_set", "main"]

STYLES = {"trained": TRAINED_STYLES, "held-out": (HELD_OUT_STYLE,)}
"""What --style means: packages of drawings."""


def compose_set(out: Path, styles: Sequence[Drawings], scenes: int, seed: int) -> None:
    """Write a set.

    Labels are those of the embedded models' vocabulary that some style draws; the images of one object take them in
    turn.

    Args:
        out: a folder that is empty or does not exist.
        scenes: how many images of each kind.
        seed: names the set.

    Raises:
        BadInput: the folder holds something, a number is out of range, or no label is drawn.
        CannotWrite: the folder cannot be written.
    """
    if scenes < 1 or seed < 0:
        raise BadInput(f"--scenes must be at least 1 and --seed at least 0, got {scenes} and {seed}")
    names = [label for label in labels() if any(style.get(label) for style in styles)]
    if not names:
        raise BadInput(f"no drawing is named after a label of the vocabulary, such as {labels()[0]!r}; rename them")
    drawings = bank(styles, names)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise BadInput(f"{str(out)!r} holds something already; give a new folder")
        _write_scenes(out, names, drawings, scenes, seed)
        _write_classes(out / "classes", names, drawings, scenes, seed)
    except OSError as error:
        raise CannotWrite(f"{str(out)!r} cannot be written ({error.strerror}); give another folder") from error


def _write_scenes(
    out: Path, names: Sequence[str], drawings: list[list[list[NDArray[np.uint8]]]], scenes: int, seed: int
) -> None:
    """Write images/ and instances.json; ids count from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (out / "images").mkdir()
    for index in range(scenes):
        made, name = compose(np.random.default_rng([seed, 0, index]), drawings, ORDINARY), f"images/{index:06}.png"
        _save(out / name, made.image)
        height, width = made.instances.shape
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        annotations += [
            {"id": len(annotations) + place, "image_id": index + 1, **each} for place, each in enumerate(_of(made), 1)
        ]
    categories = [{"id": row, "name": name} for row, name in enumerate(names, 1)]
    info = {"description": f"scenes composed by training.compose, seed {seed}"}
    whole = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    (out / "instances.json").write_text(json.dumps(whole, indent=0) + "\n", "utf-8")


def _of(scene: Scene) -> list[dict[str, Any]]:
    """Return the annotations of a scene, without ids."""
    from pycocotools import mask as coco_mask

    made = []
    for number, (label, box) in enumerate(zip(scene.labels.tolist(), scene.xyxy.tolist(), strict=True), 1):
        mask = scene.instances == number
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        one = {"category_id": label + 1, "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        plain = {"size": list(code["size"]), "counts": code["counts"].decode()}
        made.append(one | {"area": int(mask.sum()), "iscrowd": 0, "segmentation": plain})
    return made


def _write_classes(
    out: Path, names: Sequence[str], drawings: list[list[list[NDArray[np.uint8]]]], images: int, seed: int
) -> None:
    """Write LABEL/NUMBER.png, each of one object."""
    for index in range(images):
        row = index % len(names)
        made = compose(np.random.default_rng([seed, 1, index]), [drawings[row]], SINGLE)
        place = out / names[row]
        place.mkdir(parents=True, exist_ok=True)
        _save(place / f"{index:06}.png", made.image)


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)


def _parser() -> argparse.ArgumentParser:
    name = "python -m training.compose"
    parser = argparse.ArgumentParser(prog=name, description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write, which must not hold anything")
    parser.add_argument("--scenes", type=int, default=500, metavar="N", help="images of each kind (default: 500)")
    parser.add_argument("--seed", type=int, default=2026, metavar="S", help="names the set (default: 2026)")
    parser.add_argument("--style", choices=sorted(STYLES), default="trained", help="drawings (default: trained)")
    parser.add_argument(
        "--packages",
        type=Path,
        default=Path("node_modules/@iconify-json"),
        metavar="DIR",
        help="where the packages of drawings lie (default: %(default)s)",
    )
    parser.add_argument("--drawings", type=Path, metavar="DIR", help="compose from LABEL/*.png of cut-outs instead")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.drawings:
            styles = [load_folder(chosen.drawings)]
        else:
            styles = [load_style(style, chosen.packages) for style in STYLES[chosen.style]]
        compose_set(chosen.out, styles, chosen.scenes, chosen.seed)
    except OpenVocabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
