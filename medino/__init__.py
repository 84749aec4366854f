"""medino: continue DINOv2's pretraining on medical images, and measure whether it helped.

Nothing heavy is imported here, so that `medino --help` answers at once; import the folders: `medino.models`,
`medino.data`, `medino.probes`, ...
"""

from importlib.metadata import version

__version__ = version("medino")
