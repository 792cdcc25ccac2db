"""Pictures with boxes: where they come from, which are kept and why, and the patches that are cut from them."""

from balle_li.errors import need

need(__name__, "workflow", "pandas", "pyarrow")

REASONS = (
    "undecodable",
    "too_small",
    "low_jpeg_quality",
    "no_boxes_of_class",
    "exact_duplicate",
    "near_duplicate",
    "over_class_cap",
)
"""Why curation drops a picture, in the order in which that is asked; the first that holds is the one that is stated."""

BOX_REASONS = ("picture_dropped", "too_small", "other_class", "group_of", "depiction")
"""Why curation drops a box, in the order in which that is asked."""
