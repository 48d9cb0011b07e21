"""The paper's figures and the companion's own: from arrays and tables to matplotlib figures.

Nothing here computes a score, opens a run folder or calls `show`: a function takes what an earlier
stage measured and returns a figure, which the caller shows, saves with `save` and closes. All share
one style, which holds while a figure is made and leaves the reader's own settings alone.

Red marks a correct match, always together with a second mark (a tick or another shape), so that no
figure depends on colour alone. Widths are the paper's columns: 3.3 in for one, 6.9 in for two.
"""

from reid_lib.plots.charts import (
    agreement_by_angle,
    effects,
    scatter_study,
    score_bars,
    score_by_ratio,
    split_scores,
)
from reid_lib.plots.codes import training_curves, tsne_panels
from reid_lib.plots.grids import split_counts, viewpoint_grids
from reid_lib.plots.method import losses_in_the_plane
from reid_lib.plots.pictures import framework, person_sheet, ranking, similarity_maps
from reid_lib.plots.save import save

__all__ = [
    "agreement_by_angle",
    "effects",
    "framework",
    "losses_in_the_plane",
    "person_sheet",
    "ranking",
    "save",
    "scatter_study",
    "score_bars",
    "score_by_ratio",
    "similarity_maps",
    "split_counts",
    "split_scores",
    "training_curves",
    "tsne_panels",
    "viewpoint_grids",
]
