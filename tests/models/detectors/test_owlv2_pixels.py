import numpy as np
import pytest
from PIL import Image
from transformers import Owlv2ImageProcessor

from openvocab.models.detectors.owlv2_pixels import owlv2_pixels


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [
        pytest.param(200, 150, 64, id="smaller, tall"),
        pytest.param(97, 301, 48, id="smaller, wide"),
        pytest.param(65, 65, 64, id="barely smaller"),
        pytest.param(1, 100, 32, id="one row"),
    ],
)
def test_pixels_equal_the_library(height: int, width: int, side: int) -> None:
    processor = Owlv2ImageProcessor(size={"height": side, "width": side})
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    wanted = processor(images=Image.fromarray(image), return_tensors="pt").pixel_values
    found = owlv2_pixels(image, processor)
    assert found is not None
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=2e-5)


@pytest.mark.parametrize(("height", "width"), [pytest.param(64, 64, id="same size"), pytest.param(30, 20, id="larger")])
def test_what_needs_no_shrinking_is_left_to_the_library(height: int, width: int) -> None:
    processor = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    assert owlv2_pixels(np.zeros((height, width, 3), np.uint8), processor) is None


def test_another_recipe_is_left_to_the_library() -> None:
    processor = Owlv2ImageProcessor(size={"height": 32, "width": 32}, do_pad=False)
    assert owlv2_pixels(np.zeros((8, 8, 3), np.uint8), processor) is None
