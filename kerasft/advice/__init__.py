"""Should features be extracted, or the model be fine-tuned, and how deep? What recorded features tell.

One pass over the data records what each stage of a model gives. Linear probes on that, cross-validated,
say how good each freeze depth is as a fixed part, how much more data would help, and where the upper stages
are made for another task. Nothing is trained, so the advice is evidence and no proof: it says how sure it is.
"""

from kerasft.advice.ask import advise
from kerasft.advice.result import Advice, AtDepth, AtSize

__all__ = ["Advice", "AtDepth", "AtSize", "advise"]
