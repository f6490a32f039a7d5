"""What a cell's process needs, imported once by the server that forks them."""

import datasets  # noqa: F401
import safetensors.torch  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch

import braidbench.assembly
import braidbench.data
import braidbench.evaluation.complexity
import braidbench.evaluation.robustness
import braidbench.execution
import braidbench.training  # noqa: F401

# The forked children choose their own number; a pool of threads must not exist before the fork.
torch.set_num_threads(1)
