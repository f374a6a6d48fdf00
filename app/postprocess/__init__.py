"""From the task network's maps to nuclei."""

from .instances import InstanceSettings, label_logits, label_nuclei

__all__ = ["InstanceSettings", "label_logits", "label_nuclei"]
