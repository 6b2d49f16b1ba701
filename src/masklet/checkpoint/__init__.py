"""Reading, writing and converting checkpoints; the only place that knows foreign parameter names."""

from masklet.checkpoint.convert import ConvertReport, convert
from masklet.checkpoint.info import CheckpointInfo, describe
from masklet.checkpoint.load import load_detector, load_model
from masklet.checkpoint.save import save_native

__all__ = ["CheckpointInfo", "ConvertReport", "convert", "describe", "load_detector", "load_model", "save_native"]
