import subprocess
import sys

import numpy as np
import pyarrow as pa

from nucleosynth.postprocess import InstanceSettings
from nucleosynth.slides.outlining import Outliner
from nucleosynth.slides.plan import Box, SlideTile
from nucleosynth.slides.table import SCHEMA


def test_processes_that_outline_nuclei_start_without_pytorch():
    """It takes seconds to import, which small slides would spend waiting."""
    program = "import sys, nucleosynth.slides.outlining; print({'torch', 'monai', 'mlflow'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_a_tiles_table_is_made_without_pandas():
    """PyArrow imports it for every array that it makes itself."""
    program = (
        "import sys; from nucleosynth.postprocess import NucleusMeasures; from nucleosynth.slides.table import *;"
        "import dataclasses, numpy as np, shapely; fields = dataclasses.fields(NucleusMeasures);"
        "measures = NucleusMeasures(*(np.ones(2) for _ in fields));"
        "table = nuclei_table(np.array([shapely.box(0, 0, 2, 3), shapely.box(5, 5, 9, 9)]), measures, 2.0, 0.5);"
        "print(table.num_rows, 'pandas' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["2", "False"]


def test_a_tile_keeps_the_nuclei_of_its_core_in_level_0_pixels():
    """Two nuclei in the region, at 0.25 µm/px of a slide of 0.5: one in the core, one in the halo."""
    maps = np.zeros((2, 60, 100), np.float16)
    for left in (10, 70):
        maps[1, 20:40, left : left + 20] = 1
        maps[0, 26:34, left + 6 : left + 14] = 1
    tile = SlideTile(3, Box(200, 100, 250, 160), Box(200, 100, 300, 160), (), Box(200, 100, 300, 160))
    outliner = Outliner(InstanceSettings(segmentation_smoothing_um=0), None, mpp=0.5, tolerance=0)
    table = outliner(tile, np.full((60, 100, 3), 200, np.uint8), maps)
    table.validate(full=True)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    (nucleus,) = table.to_pylist()
    assert (nucleus["x_px"], nucleus["y_px"]) == (110.0, 65.0)
    assert (nucleus["x_um"], nucleus["y_um"]) == (55.0, 32.5)
    assert nucleus["area_um2"] == 25.0
    assert nucleus["probability"] == 1.0


def test_a_tile_without_nuclei_has_an_empty_table():
    box = Box(0, 0, 40, 40)
    outliner = Outliner(InstanceSettings(), None, mpp=0.25)
    table = outliner(
        SlideTile(0, box, box, (), box), np.zeros((40, 40, 3), np.uint8), np.zeros((2, 40, 40), np.float16)
    )
    table.validate(full=True)
    assert table.equals(pa.Table.from_pylist([], SCHEMA))
