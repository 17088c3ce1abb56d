"""Forward passes: adapters and racks inside a model, and what computes with them."""
