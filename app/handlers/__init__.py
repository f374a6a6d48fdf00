"""Handlers of engines: what a training does besides training."""

from .mlflow import MetricsRun, MLflowLogger

__all__ = ["MLflowLogger", "MetricsRun"]
