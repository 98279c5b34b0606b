"""Models run over labeled images; each run is a record of predictions and ground truth."""
