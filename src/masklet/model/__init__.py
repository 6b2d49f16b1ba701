"""The network and only the network: no files, no pictures, no thresholds, no training."""
