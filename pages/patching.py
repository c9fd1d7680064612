"""Patching: an estimate at once, exact values streaming in, paths, mediation, and error bars over a dataset."""

from explorer.ui import datasets, frame, mediation, patching, paths, session
from explorer.ui.patch_views import view_control

opened = frame.page("Patching", ("resid_post",))
if opened is not None:
    view_control(opened)
    match session.bench().patch_view:
        case "Sweep":
            patching.sweep_view(opened)
        case "Paths":
            paths.paths_view(opened)
        case "Mediation":
            mediation.mediation_view(opened)
        case "Dataset":
            datasets.dataset_view(opened)
