"""One HTML page about a model and its data."""

from shoal.report.make import Report as Report
from shoal.report.make import report as report
