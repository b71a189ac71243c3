"""The operator's console in the browser: one small server beside the loop that moves the arm."""
