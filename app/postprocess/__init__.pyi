from .instances import InstanceSettings, label_nuclei
from .logits import label_logits
from .measures import NucleusMeasures, measure_nuclei
from .otsu import otsu_nuclei
from .outlines import outline_nuclei

__all__ = [
    "InstanceSettings",
    "NucleusMeasures",
    "label_logits",
    "label_nuclei",
    "measure_nuclei",
    "otsu_nuclei",
    "outline_nuclei",
]
