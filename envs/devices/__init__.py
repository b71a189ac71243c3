"""What a human holds: one file per kind of input device."""
