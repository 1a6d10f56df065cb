"""GPU readings: NVML in a supervised child process, and the vendors' exporter pages."""
