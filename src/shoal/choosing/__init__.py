"""How many clusters? Fits over a range of k, and what indices say of them."""

from shoal.choosing.choice import KChoice as KChoice
from shoal.choosing.choice import Suggestion as Suggestion
from shoal.choosing.fits import choose_k as choose_k
