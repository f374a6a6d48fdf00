"""What MLflow runs to load a registered model: it keeps a copy of this file, so all is imported by its full name."""

from mlflow.models import set_model

from nucleosynth.tracking.serving import NucleiModel

set_model(NucleiModel())
