"""One run directory for every command that computes for minutes: lock, record, metrics, finished mark."""

from runs.directory import BEGIN_ANEW, RunDirectory, read_record, read_summary
from runs.metrics import MetricsLog, read_metrics
from runs.processes import check_alive, deaths
