"""From a person's source to tensors and back: readers, the data doctor, preprocessing, the split, and writers.

The room knows nothing of diffusion. A new kind of source is one file with a `Reader` and one word in `loading.READERS`.
"""

from driftback.data.dataset import Dataset, Finding
from driftback.data.doctor import check
from driftback.data.loading import load
from driftback.data.preprocessing import Preprocessing
from driftback.data.split import split
from driftback.data.writers import write

__all__ = ["Dataset", "Finding", "Preprocessing", "check", "load", "split", "write"]
