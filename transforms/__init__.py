"""MONAI transforms that synthesise nuclei (Hou et al., CVPR 2019, section 4.1)."""
