"""Drawing detections into images."""
