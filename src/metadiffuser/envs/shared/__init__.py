"""What the families of tasks share: robots, physics, drawing, gymnasium's interface."""
