"""The job service of this process, on the models that the pages hold."""

from explorer.core.errors import JobError
from explorer.engine.model import Model
from explorer.jobs.service import JobService
from explorer.ui.models import POOL


def pooled(source: str) -> Model:
    """The model of a job: the pages' own, loaded if need be, never fetched from elsewhere."""
    load = POOL.request(source)
    load.done.wait()
    if load.model is None:
        raise JobError(f"The model of this job is not there: {load.error}")
    return load.model


SERVICE = JobService(pooled)
