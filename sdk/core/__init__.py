"""What every room builds on: refs and compositions, checked arguments, locks, devices, process memory."""
