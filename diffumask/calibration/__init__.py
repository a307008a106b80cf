"""Thresholds of classes, fitted to a reference: `diffumask calibrate`."""
