"""OWLv2's preprocessing: transformers' Owlv2ImageProcessor against ours, alternating, medians.

python benchmarks/owlv2_pixels.py [--runs 3] [--side 960]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from PIL import Image
from transformers import Owlv2ImageProcessor

from openvocab.models.detectors.owlv2_pixels import owlv2_pixels

SIZES = ((1500, 2250), (2000, 3000), (3000, 4000))


def main() -> None:
    """Print a table: image, both medians, their ratio, the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", type=int, default=960, help="the model's input; OWLv2 base takes 960")
    chosen = parser.parse_args()
    processor = Owlv2ImageProcessor(size={"height": chosen.side, "width": chosen.side})
    print(f"{'image':>12} {'transformers s':>15} {'openvocab s':>12} {'ratio':>7} {'max difference':>15}")
    for height, width in SIZES:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        theirs, ours = [], []
        for _ in range(chosen.runs):
            start = time.perf_counter()
            wanted = processor(images=Image.fromarray(image), return_tensors="pt").pixel_values
            middle = time.perf_counter()
            found = owlv2_pixels(image, processor)
            ours.append(time.perf_counter() - middle)
            theirs.append(middle - start)
        if found is None:
            raise SystemExit("this processor has another recipe than the one that is reproduced")
        slow, quick = statistics.median(theirs), statistics.median(ours)
        apart = float((wanted - found).abs().max())
        print(f"{width:>6}x{height:<5} {slow:15.3f} {quick:12.3f} {slow / quick:7.1f} {apart:15.1e}")


if __name__ == "__main__":
    main()
