"""From the task network's maps to nuclei: instances, their outlines, and what can be measured of them."""

from .instances import InstanceSettings, label_logits, label_nuclei
from .measures import NucleusMeasures, measure_nuclei
from .outlines import outline_nuclei

__all__ = ["InstanceSettings", "NucleusMeasures", "label_logits", "label_nuclei", "measure_nuclei", "outline_nuclei"]
