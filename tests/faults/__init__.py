"""What skate must survive: one test or more for each row of docs/FAULTS.md."""
