import numpy as np
import pytest

from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom


@pytest.fixture(scope="session")
def phantom_tiles(tmp_path_factory):
    """A folder of five 160 px tiles of two types, cut from sample tissue; the session's, not to be written to."""
    folder = tmp_path_factory.mktemp("tiles")
    for seed, kind in enumerate(("liver", "skin")):
        phantom = generate_phantom(PhantomSettings(width=512, height=512, seed=seed, tissue_share=1.0))
        for number in range(3 - seed):
            tile = phantom.image[100:260, 160 * number : 160 * number + 160]
            write_png(folder / kind / f"{number}.png", np.ascontiguousarray(tile))
    return folder
