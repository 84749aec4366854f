"""Colours that the colour-blind tell apart: of figures, and of masks drawn into images."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's palette (Color Universal Design, 2008) without yellow, which is lost on white."""
