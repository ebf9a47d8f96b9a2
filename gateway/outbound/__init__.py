"""Every connection that leaves the gateway: total deadlines, bounded bodies, the guard against private addresses."""
