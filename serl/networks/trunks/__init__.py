"""The trunks: one file each, registered in `serl.networks.trunk.TRUNKS`."""
