"""NNActive's server: train nnU-Net on partial labels and propose the next patches to annotate."""

__version__ = "0.1.0"
