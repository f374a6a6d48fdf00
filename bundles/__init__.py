"""The MONAI bundles that ship with nucleosynth, one folder each."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundle_names", "bundle_path"]


def bundle_names() -> list[str]:
    """Names of the bundles that ship with this installation, sorted."""
    return sorted(entry.parent.parent.name for entry in Path(__file__).parent.glob("*/configs/metadata.json"))


def bundle_path(name: str) -> Path:
    """Folder of a shipped bundle.

    Args:
        name: one of :func:`bundle_names`, e.g. ``"nuclei_synthesis"``.

    Raises:
        KeyError: there is no such bundle.
    """
    if name not in bundle_names():
        raise KeyError(f"no bundle {name!r}; there are {', '.join(bundle_names())}")
    return Path(__file__).parent / name
