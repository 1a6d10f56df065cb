"""What can be measured on this machine, what cannot, why, and the remedy."""
