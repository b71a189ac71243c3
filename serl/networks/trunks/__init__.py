"""Trunks, one architecture per file; each registers itself in serl.networks.trunk.TRUNKS."""
