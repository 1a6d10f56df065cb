"""What the accelerators of this machine are doing."""
