"""From readings to phases: evidence, calibration, settling, topology and labels."""
