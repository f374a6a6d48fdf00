"""The record of trainings in MLflow."""

from .curves import read_curves
from .flatten import flatten_config
from .run import RunDescription, TrackedRun, open_run, record_tags
from .store import TrackingStore, open_store, tracking_uri
from .training import track_training

__all__ = [
    "RunDescription",
    "TrackedRun",
    "TrackingStore",
    "flatten_config",
    "open_run",
    "open_store",
    "read_curves",
    "record_tags",
    "track_training",
    "tracking_uri",
]
