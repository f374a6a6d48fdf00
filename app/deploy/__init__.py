"""MONAI Deploy: the segmentation of slides as an application of its App SDK, to be packaged as a container."""
