"""The promise: one image has one heat map. The report's figure and the server's image have the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from figure_content import picture, visible
from live_server import running_server
from PIL import Image

from convscope.bundle.introspection import Introspection, open_introspection
from convscope.images.image_reader import read_image
from convscope.plotting.heatmap import plot_heatmap
from convscope.serving.service import open_service
from convscope.serving.settings import ServiceSettings

RUN = Path(__file__).parents[1] / "old" / "finished"
PHOTOS = sorted((RUN.parent / "photos").glob("*/0.png"))


@pytest.fixture(scope="module")
def inside() -> Introspection:
    """A trained network of three classes, with its blocks and heat maps as outputs."""
    return open_introspection(RUN)


@pytest.mark.slow
def test_report_and_server_have_the_same_pixels(inside: Introspection, tmp_path: Path) -> None:
    """For every class of an image: both on the colour scale of all classes, also for a class with a weak heat map."""
    bundle = inside.bundle
    with running_server(open_service(RUN, ServiceSettings())) as client:
        for photo in PHOTOS:
            image = read_image(photo, size=bundle.square.size, fit=bundle.square.fit)
            heat = inside.run(image).heat
            assert heat.max() > 0
            for class_index, name in enumerate(bundle.classes):
                reply = client.post(
                    "/explain", params={"class": name}, content=photo.read_bytes(), headers={"Accept": "image/png"}
                )
                (tmp_path / "overlay.png").write_bytes(reply.content)
                with Image.open(tmp_path / "overlay.png") as overlay:
                    served = np.asarray(overlay)
                reported = picture(visible(plot_heatmap(image, heat, class_index=class_index))[1])
                np.testing.assert_array_equal(reported, served)
                assert not np.array_equal(reported, image) or heat[..., class_index].max() < 0.1 * heat.max()
