"""Fitting of thresholds and calibrated scores on labeled images; see openvocab.pipeline.calibration."""
